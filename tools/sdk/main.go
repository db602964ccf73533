// Command sdk generates the Node.js, Python and Go SDKs from schema.json with Pulumi's own generators:
//
//	go run . SCHEMA FOLDER
//
// FOLDER gets the folders nodejs, python and go. Whatever Pulumi's binder has to say about the schema is printed and
// ends it with status 1, warnings as well: a schema with diagnostics is not one to publish.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	gogen "github.com/pulumi/pulumi/pkg/v3/codegen/go"
	"github.com/pulumi/pulumi/pkg/v3/codegen/nodejs"
	"github.com/pulumi/pulumi/pkg/v3/codegen/python"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
)

// What generated files name as their origin.
const tool = "pulumi-ssh-keepalive"

// The Go SDK as a module of its own: its path is language.go.importBasePath of the schema.
const goModule = `module pulumi-ssh-keepalive/sdk/go/sshkeepalive

go 1.24

require github.com/pulumi/pulumi/sdk/v3 v3.232.0
`

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sdk SCHEMA FOLDER")
		os.Exit(2)
	}
	if err := generate(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func generate(schemaFile, folder string) error {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		return err
	}
	languages := []struct {
		name  string
		files func(*schema.Package) (map[string][]byte, error)
	}{
		{"nodejs", func(pkg *schema.Package) (map[string][]byte, error) {
			return nodejs.GeneratePackage(tool, pkg, nil, nil, false, nil)
		}},
		{"python", func(pkg *schema.Package) (map[string][]byte, error) {
			return python.GeneratePackage(tool, pkg, nil, nil)
		}},
		{"go", func(pkg *schema.Package) (map[string][]byte, error) {
			files, err := gogen.GeneratePackage(tool, pkg, nil)
			if err == nil {
				files["go.mod"] = []byte(goModule)
			}
			return files, err
		}},
	}
	for _, language := range languages {
		// Bound anew for each: a generator may change the package it is given.
		pkg, err := bind(text)
		if err != nil {
			return err
		}
		files, err := language.files(pkg)
		if err != nil {
			return fmt.Errorf("%s: %w", language.name, err)
		}
		for name, contents := range files {
			file := filepath.Join(folder, language.name, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(file, contents, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func bind(text []byte) (*schema.Package, error) {
	var spec schema.PackageSpec
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, err
	}
	pkg, diagnostics, err := schema.BindSpec(spec, nil, schema.ValidationOptions{})
	if err != nil {
		return nil, err
	}
	if len(diagnostics) > 0 {
		return nil, diagnostics
	}
	return pkg, nil
}
