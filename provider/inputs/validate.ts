// @ts-nocheck
// Whether inputs have the shape that schema.json describes, as code by ajv: compiling it in each run took longer than all
// other checks. Generated from schema.json by tools/generateValidator.ts: edit that, not this.
"use strict";
export const validate = validate21;
export default validate21;
const schema6 = {"type":"object","properties":{"hosts":{"type":"object","additionalProperties":{"$ref":"#/$defs/sshkeepalive.index.Host"}},"connection":{"$ref":"#/$defs/sshkeepalive.index.Connection"},"become":{"$ref":"#/$defs/sshkeepalive.index.Become"},"server":{"$ref":"#/$defs/sshkeepalive.index.ServerSettings"},"client":{"$ref":"#/$defs/sshkeepalive.index.ClientSettings"},"idleTimeout":{"type":["integer","string"]},"rollout":{"$ref":"#/$defs/sshkeepalive.index.Rollout"},"confirmTimeout":{"type":["integer","string"]},"verifyAs":{"type":"array","items":{"type":"string"}},"allowNoBootGuard":{"type":"boolean"}},"required":["hosts"],"additionalProperties":false,"$defs":{"sshkeepalive.index.Host":{"type":"object","properties":{"local":{"type":"boolean"},"host":{"type":"string"},"port":{"type":"integer"},"user":{"type":"string"},"password":{"type":"string"},"privateKey":{"type":"string"},"privateKeyPassword":{"type":"string"},"agentSocketPath":{"type":"string"},"hostKey":{"type":"string"},"dialErrorLimit":{"type":"integer"},"perDialTimeout":{"type":"integer"},"proxy":{"$ref":"#/$defs/sshkeepalive.index.ProxyConnection"},"sshOptions":{"type":"object","additionalProperties":{"type":"string"}},"hostKeyChecking":{"$ref":"#/$defs/sshkeepalive.index.HostKeyChecking"},"become":{"$ref":"#/$defs/sshkeepalive.index.Become"},"server":{"$ref":"#/$defs/sshkeepalive.index.ServerSettings"},"client":{"$ref":"#/$defs/sshkeepalive.index.ClientSettings"},"idleTimeout":{"type":["integer","string"]},"verifyAs":{"type":"array","items":{"type":"string"}},"allowNoBootGuard":{"type":"boolean"}},"required":[],"additionalProperties":false},"sshkeepalive.index.Connection":{"type":"object","properties":{"host":{"type":"string"},"port":{"type":"integer"},"user":{"type":"string"},"password":{"type":"string"},"privateKey":{"type":"string"},"privateKeyPassword":{"type":"string"},"agentSocketPath":{"type":"string"},"hostKey":{"type":"string"},"dialErrorLimit":{"type":"integer"},"perDialTimeout":{"type":"integer"},"proxy":{"$ref":"#/$defs/sshkeepalive.index.ProxyConnection"},"sshOptions":{"type":"object","additionalProperties":{"type":"string"}},"hostKeyChecking":{"$ref":"#/$defs/sshkeepalive.index.HostKeyChecking"}},"required":[],"additionalProperties":false},"sshkeepalive.index.ProxyConnection":{"type":"object","properties":{"host":{"type":"string"},"port":{"type":"integer"},"user":{"type":"string"},"password":{"type":"string"},"privateKey":{"type":"string"},"privateKeyPassword":{"type":"string"},"agentSocketPath":{"type":"string"},"hostKey":{"type":"string"},"dialErrorLimit":{"type":"integer"},"perDialTimeout":{"type":"integer"}},"required":["host"],"additionalProperties":false},"sshkeepalive.index.HostKeyChecking":{"type":"string","enum":["strict","acceptNew","off"]},"sshkeepalive.index.Become":{"type":"object","properties":{"user":{"type":"string"},"password":{"type":"string"}},"required":[],"additionalProperties":false},"sshkeepalive.index.ServerSettings":{"type":"object","properties":{"clientAliveInterval":{"type":["integer","string"]},"clientAliveCountMax":{"type":"integer"},"tcpKeepAlive":{"type":"boolean"},"configPath":{"type":"string"},"sshdPath":{"type":"string"},"reload":{"type":"array","items":{"type":"string"}},"placement":{"$ref":"#/$defs/sshkeepalive.index.Placement"}},"required":[],"additionalProperties":false},"sshkeepalive.index.Placement":{"type":"string","enum":["auto","dropIn","main"]},"sshkeepalive.index.ClientSettings":{"type":"object","properties":{"serverAliveInterval":{"type":["integer","string"]},"serverAliveCountMax":{"type":"integer"},"tcpKeepAlive":{"type":"boolean"},"user":{"type":"string"},"hosts":{"type":"array","items":{"type":"string"}},"configPath":{"type":"string"}},"required":[],"additionalProperties":false},"sshkeepalive.index.Rollout":{"type":"object","properties":{"parallel":{"type":"integer"},"canary":{"type":["integer","string"]},"maxFailures":{"type":"integer"}},"required":[],"additionalProperties":false},"sshkeepalive.index.ObservedHost":{"type":"object","properties":{"status":{"$ref":"#/$defs/sshkeepalive.index.HostStatus"},"reason":{"type":"string"},"openssh":{"type":"string"},"server":{"$ref":"#/$defs/sshkeepalive.index.ObservedSide"},"client":{"$ref":"#/$defs/sshkeepalive.index.ObservedSide"},"backup":{"type":"string"}},"required":["status"],"additionalProperties":false},"sshkeepalive.index.HostStatus":{"type":"string","enum":["inSync","drifted","unreachable","failed","unknown"]},"sshkeepalive.index.ObservedSide":{"type":"object","properties":{"configPath":{"type":"string"},"options":{"type":"object","additionalProperties":{"$ref":"#/$defs/sshkeepalive.index.ObservedOption"}},"differs":{"type":"array","items":{"$ref":"#/$defs/sshkeepalive.index.ObservedDifference"}},"firstProbeSeconds":{"type":"integer"},"disconnectSeconds":{"type":"integer"}},"required":["configPath","options","differs"],"additionalProperties":false},"sshkeepalive.index.ObservedOption":{"type":"object","properties":{"value":{"type":"string"},"wanted":{"type":"string"},"file":{"type":"string"},"line":{"type":"integer"}},"required":["value"],"additionalProperties":false},"sshkeepalive.index.ObservedDifference":{"type":"object","properties":{"option":{"type":"string"},"value":{"type":"string"},"header":{"type":"string"},"file":{"type":"string"},"line":{"type":"integer"}},"required":["option","value","header","file","line"],"additionalProperties":false}}};
const func2 = Object.prototype.hasOwnProperty;
const schema7 = {"type":"object","properties":{"local":{"type":"boolean"},"host":{"type":"string"},"port":{"type":"integer"},"user":{"type":"string"},"password":{"type":"string"},"privateKey":{"type":"string"},"privateKeyPassword":{"type":"string"},"agentSocketPath":{"type":"string"},"hostKey":{"type":"string"},"dialErrorLimit":{"type":"integer"},"perDialTimeout":{"type":"integer"},"proxy":{"$ref":"#/$defs/sshkeepalive.index.ProxyConnection"},"sshOptions":{"type":"object","additionalProperties":{"type":"string"}},"hostKeyChecking":{"$ref":"#/$defs/sshkeepalive.index.HostKeyChecking"},"become":{"$ref":"#/$defs/sshkeepalive.index.Become"},"server":{"$ref":"#/$defs/sshkeepalive.index.ServerSettings"},"client":{"$ref":"#/$defs/sshkeepalive.index.ClientSettings"},"idleTimeout":{"type":["integer","string"]},"verifyAs":{"type":"array","items":{"type":"string"}},"allowNoBootGuard":{"type":"boolean"}},"required":[],"additionalProperties":false};
const schema8 = {"type":"object","properties":{"host":{"type":"string"},"port":{"type":"integer"},"user":{"type":"string"},"password":{"type":"string"},"privateKey":{"type":"string"},"privateKeyPassword":{"type":"string"},"agentSocketPath":{"type":"string"},"hostKey":{"type":"string"},"dialErrorLimit":{"type":"integer"},"perDialTimeout":{"type":"integer"}},"required":["host"],"additionalProperties":false};

function validate23(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(data && typeof data == "object" && !Array.isArray(data)){
if(data.host === undefined){
const err0 = {instancePath,schemaPath:"#/required",keyword:"required",params:{missingProperty: "host"},message:"must have required property '"+"host"+"'",schema:schema8.required,parentSchema:schema8,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
for(const key0 in data){
if(!(func2.call(schema8.properties, key0))){
const err1 = {instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties",schema:false,parentSchema:schema8,data};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
}
if(data.host !== undefined){
let data0 = data.host;
if(typeof data0 !== "string"){
const err2 = {instancePath:instancePath+"/host",schemaPath:"#/properties/host/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema8.properties.host.type,parentSchema:schema8.properties.host,data:data0};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
}
if(data.port !== undefined){
let data1 = data.port;
if(!(((typeof data1 == "number") && (!(data1 % 1) && !isNaN(data1))) && (isFinite(data1)))){
const err3 = {instancePath:instancePath+"/port",schemaPath:"#/properties/port/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema8.properties.port.type,parentSchema:schema8.properties.port,data:data1};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
}
if(data.user !== undefined){
let data2 = data.user;
if(typeof data2 !== "string"){
const err4 = {instancePath:instancePath+"/user",schemaPath:"#/properties/user/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema8.properties.user.type,parentSchema:schema8.properties.user,data:data2};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
}
if(data.password !== undefined){
let data3 = data.password;
if(typeof data3 !== "string"){
const err5 = {instancePath:instancePath+"/password",schemaPath:"#/properties/password/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema8.properties.password.type,parentSchema:schema8.properties.password,data:data3};
if(vErrors === null){
vErrors = [err5];
}
else {
vErrors.push(err5);
}
errors++;
}
}
if(data.privateKey !== undefined){
let data4 = data.privateKey;
if(typeof data4 !== "string"){
const err6 = {instancePath:instancePath+"/privateKey",schemaPath:"#/properties/privateKey/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema8.properties.privateKey.type,parentSchema:schema8.properties.privateKey,data:data4};
if(vErrors === null){
vErrors = [err6];
}
else {
vErrors.push(err6);
}
errors++;
}
}
if(data.privateKeyPassword !== undefined){
let data5 = data.privateKeyPassword;
if(typeof data5 !== "string"){
const err7 = {instancePath:instancePath+"/privateKeyPassword",schemaPath:"#/properties/privateKeyPassword/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema8.properties.privateKeyPassword.type,parentSchema:schema8.properties.privateKeyPassword,data:data5};
if(vErrors === null){
vErrors = [err7];
}
else {
vErrors.push(err7);
}
errors++;
}
}
if(data.agentSocketPath !== undefined){
let data6 = data.agentSocketPath;
if(typeof data6 !== "string"){
const err8 = {instancePath:instancePath+"/agentSocketPath",schemaPath:"#/properties/agentSocketPath/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema8.properties.agentSocketPath.type,parentSchema:schema8.properties.agentSocketPath,data:data6};
if(vErrors === null){
vErrors = [err8];
}
else {
vErrors.push(err8);
}
errors++;
}
}
if(data.hostKey !== undefined){
let data7 = data.hostKey;
if(typeof data7 !== "string"){
const err9 = {instancePath:instancePath+"/hostKey",schemaPath:"#/properties/hostKey/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema8.properties.hostKey.type,parentSchema:schema8.properties.hostKey,data:data7};
if(vErrors === null){
vErrors = [err9];
}
else {
vErrors.push(err9);
}
errors++;
}
}
if(data.dialErrorLimit !== undefined){
let data8 = data.dialErrorLimit;
if(!(((typeof data8 == "number") && (!(data8 % 1) && !isNaN(data8))) && (isFinite(data8)))){
const err10 = {instancePath:instancePath+"/dialErrorLimit",schemaPath:"#/properties/dialErrorLimit/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema8.properties.dialErrorLimit.type,parentSchema:schema8.properties.dialErrorLimit,data:data8};
if(vErrors === null){
vErrors = [err10];
}
else {
vErrors.push(err10);
}
errors++;
}
}
if(data.perDialTimeout !== undefined){
let data9 = data.perDialTimeout;
if(!(((typeof data9 == "number") && (!(data9 % 1) && !isNaN(data9))) && (isFinite(data9)))){
const err11 = {instancePath:instancePath+"/perDialTimeout",schemaPath:"#/properties/perDialTimeout/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema8.properties.perDialTimeout.type,parentSchema:schema8.properties.perDialTimeout,data:data9};
if(vErrors === null){
vErrors = [err11];
}
else {
vErrors.push(err11);
}
errors++;
}
}
}
else {
const err12 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema8.type,parentSchema:schema8,data};
if(vErrors === null){
vErrors = [err12];
}
else {
vErrors.push(err12);
}
errors++;
}
validate23.errors = vErrors;
return errors === 0;
}

const schema9 = {"type":"string","enum":["strict","acceptNew","off"]};

function validate25(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(typeof data !== "string"){
const err0 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema9.type,parentSchema:schema9,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
if(!(((data === "strict") || (data === "acceptNew")) || (data === "off"))){
const err1 = {instancePath,schemaPath:"#/enum",keyword:"enum",params:{allowedValues: schema9.enum},message:"must be equal to one of the allowed values",schema:schema9.enum,parentSchema:schema9,data};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
validate25.errors = vErrors;
return errors === 0;
}

const schema10 = {"type":"object","properties":{"user":{"type":"string"},"password":{"type":"string"}},"required":[],"additionalProperties":false};

function validate27(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(data && typeof data == "object" && !Array.isArray(data)){
for(const key0 in data){
if(!((key0 === "user") || (key0 === "password"))){
const err0 = {instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties",schema:false,parentSchema:schema10,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
}
if(data.user !== undefined){
let data0 = data.user;
if(typeof data0 !== "string"){
const err1 = {instancePath:instancePath+"/user",schemaPath:"#/properties/user/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema10.properties.user.type,parentSchema:schema10.properties.user,data:data0};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
}
if(data.password !== undefined){
let data1 = data.password;
if(typeof data1 !== "string"){
const err2 = {instancePath:instancePath+"/password",schemaPath:"#/properties/password/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema10.properties.password.type,parentSchema:schema10.properties.password,data:data1};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
}
}
else {
const err3 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema10.type,parentSchema:schema10,data};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
validate27.errors = vErrors;
return errors === 0;
}

const schema11 = {"type":"object","properties":{"clientAliveInterval":{"type":["integer","string"]},"clientAliveCountMax":{"type":"integer"},"tcpKeepAlive":{"type":"boolean"},"configPath":{"type":"string"},"sshdPath":{"type":"string"},"reload":{"type":"array","items":{"type":"string"}},"placement":{"$ref":"#/$defs/sshkeepalive.index.Placement"}},"required":[],"additionalProperties":false};
const schema12 = {"type":"string","enum":["auto","dropIn","main"]};

function validate30(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(typeof data !== "string"){
const err0 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema12.type,parentSchema:schema12,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
if(!(((data === "auto") || (data === "dropIn")) || (data === "main"))){
const err1 = {instancePath,schemaPath:"#/enum",keyword:"enum",params:{allowedValues: schema12.enum},message:"must be equal to one of the allowed values",schema:schema12.enum,parentSchema:schema12,data};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
validate30.errors = vErrors;
return errors === 0;
}


function validate29(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(data && typeof data == "object" && !Array.isArray(data)){
for(const key0 in data){
if(!(((((((key0 === "clientAliveInterval") || (key0 === "clientAliveCountMax")) || (key0 === "tcpKeepAlive")) || (key0 === "configPath")) || (key0 === "sshdPath")) || (key0 === "reload")) || (key0 === "placement"))){
const err0 = {instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties",schema:false,parentSchema:schema11,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
}
if(data.clientAliveInterval !== undefined){
let data0 = data.clientAliveInterval;
if((!(((typeof data0 == "number") && (!(data0 % 1) && !isNaN(data0))) && (isFinite(data0)))) && (typeof data0 !== "string")){
const err1 = {instancePath:instancePath+"/clientAliveInterval",schemaPath:"#/properties/clientAliveInterval/type",keyword:"type",params:{type: schema11.properties.clientAliveInterval.type},message:"must be integer,string",schema:schema11.properties.clientAliveInterval.type,parentSchema:schema11.properties.clientAliveInterval,data:data0};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
}
if(data.clientAliveCountMax !== undefined){
let data1 = data.clientAliveCountMax;
if(!(((typeof data1 == "number") && (!(data1 % 1) && !isNaN(data1))) && (isFinite(data1)))){
const err2 = {instancePath:instancePath+"/clientAliveCountMax",schemaPath:"#/properties/clientAliveCountMax/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema11.properties.clientAliveCountMax.type,parentSchema:schema11.properties.clientAliveCountMax,data:data1};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
}
if(data.tcpKeepAlive !== undefined){
let data2 = data.tcpKeepAlive;
if(typeof data2 !== "boolean"){
const err3 = {instancePath:instancePath+"/tcpKeepAlive",schemaPath:"#/properties/tcpKeepAlive/type",keyword:"type",params:{type: "boolean"},message:"must be boolean",schema:schema11.properties.tcpKeepAlive.type,parentSchema:schema11.properties.tcpKeepAlive,data:data2};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
}
if(data.configPath !== undefined){
let data3 = data.configPath;
if(typeof data3 !== "string"){
const err4 = {instancePath:instancePath+"/configPath",schemaPath:"#/properties/configPath/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema11.properties.configPath.type,parentSchema:schema11.properties.configPath,data:data3};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
}
if(data.sshdPath !== undefined){
let data4 = data.sshdPath;
if(typeof data4 !== "string"){
const err5 = {instancePath:instancePath+"/sshdPath",schemaPath:"#/properties/sshdPath/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema11.properties.sshdPath.type,parentSchema:schema11.properties.sshdPath,data:data4};
if(vErrors === null){
vErrors = [err5];
}
else {
vErrors.push(err5);
}
errors++;
}
}
if(data.reload !== undefined){
let data5 = data.reload;
if(Array.isArray(data5)){
const len0 = data5.length;
for(let i0=0; i0<len0; i0++){
let data6 = data5[i0];
if(typeof data6 !== "string"){
const err6 = {instancePath:instancePath+"/reload/" + i0,schemaPath:"#/properties/reload/items/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema11.properties.reload.items.type,parentSchema:schema11.properties.reload.items,data:data6};
if(vErrors === null){
vErrors = [err6];
}
else {
vErrors.push(err6);
}
errors++;
}
}
}
else {
const err7 = {instancePath:instancePath+"/reload",schemaPath:"#/properties/reload/type",keyword:"type",params:{type: "array"},message:"must be array",schema:schema11.properties.reload.type,parentSchema:schema11.properties.reload,data:data5};
if(vErrors === null){
vErrors = [err7];
}
else {
vErrors.push(err7);
}
errors++;
}
}
if(data.placement !== undefined){
if(!(validate30(data.placement, {instancePath:instancePath+"/placement",parentData:data,parentDataProperty:"placement",rootData}))){
vErrors = vErrors === null ? validate30.errors : vErrors.concat(validate30.errors);
errors = vErrors.length;
}
}
}
else {
const err8 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema11.type,parentSchema:schema11,data};
if(vErrors === null){
vErrors = [err8];
}
else {
vErrors.push(err8);
}
errors++;
}
validate29.errors = vErrors;
return errors === 0;
}

const schema13 = {"type":"object","properties":{"serverAliveInterval":{"type":["integer","string"]},"serverAliveCountMax":{"type":"integer"},"tcpKeepAlive":{"type":"boolean"},"user":{"type":"string"},"hosts":{"type":"array","items":{"type":"string"}},"configPath":{"type":"string"}},"required":[],"additionalProperties":false};

function validate33(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(data && typeof data == "object" && !Array.isArray(data)){
for(const key0 in data){
if(!((((((key0 === "serverAliveInterval") || (key0 === "serverAliveCountMax")) || (key0 === "tcpKeepAlive")) || (key0 === "user")) || (key0 === "hosts")) || (key0 === "configPath"))){
const err0 = {instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties",schema:false,parentSchema:schema13,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
}
if(data.serverAliveInterval !== undefined){
let data0 = data.serverAliveInterval;
if((!(((typeof data0 == "number") && (!(data0 % 1) && !isNaN(data0))) && (isFinite(data0)))) && (typeof data0 !== "string")){
const err1 = {instancePath:instancePath+"/serverAliveInterval",schemaPath:"#/properties/serverAliveInterval/type",keyword:"type",params:{type: schema13.properties.serverAliveInterval.type},message:"must be integer,string",schema:schema13.properties.serverAliveInterval.type,parentSchema:schema13.properties.serverAliveInterval,data:data0};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
}
if(data.serverAliveCountMax !== undefined){
let data1 = data.serverAliveCountMax;
if(!(((typeof data1 == "number") && (!(data1 % 1) && !isNaN(data1))) && (isFinite(data1)))){
const err2 = {instancePath:instancePath+"/serverAliveCountMax",schemaPath:"#/properties/serverAliveCountMax/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema13.properties.serverAliveCountMax.type,parentSchema:schema13.properties.serverAliveCountMax,data:data1};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
}
if(data.tcpKeepAlive !== undefined){
let data2 = data.tcpKeepAlive;
if(typeof data2 !== "boolean"){
const err3 = {instancePath:instancePath+"/tcpKeepAlive",schemaPath:"#/properties/tcpKeepAlive/type",keyword:"type",params:{type: "boolean"},message:"must be boolean",schema:schema13.properties.tcpKeepAlive.type,parentSchema:schema13.properties.tcpKeepAlive,data:data2};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
}
if(data.user !== undefined){
let data3 = data.user;
if(typeof data3 !== "string"){
const err4 = {instancePath:instancePath+"/user",schemaPath:"#/properties/user/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema13.properties.user.type,parentSchema:schema13.properties.user,data:data3};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
}
if(data.hosts !== undefined){
let data4 = data.hosts;
if(Array.isArray(data4)){
const len0 = data4.length;
for(let i0=0; i0<len0; i0++){
let data5 = data4[i0];
if(typeof data5 !== "string"){
const err5 = {instancePath:instancePath+"/hosts/" + i0,schemaPath:"#/properties/hosts/items/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema13.properties.hosts.items.type,parentSchema:schema13.properties.hosts.items,data:data5};
if(vErrors === null){
vErrors = [err5];
}
else {
vErrors.push(err5);
}
errors++;
}
}
}
else {
const err6 = {instancePath:instancePath+"/hosts",schemaPath:"#/properties/hosts/type",keyword:"type",params:{type: "array"},message:"must be array",schema:schema13.properties.hosts.type,parentSchema:schema13.properties.hosts,data:data4};
if(vErrors === null){
vErrors = [err6];
}
else {
vErrors.push(err6);
}
errors++;
}
}
if(data.configPath !== undefined){
let data6 = data.configPath;
if(typeof data6 !== "string"){
const err7 = {instancePath:instancePath+"/configPath",schemaPath:"#/properties/configPath/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema13.properties.configPath.type,parentSchema:schema13.properties.configPath,data:data6};
if(vErrors === null){
vErrors = [err7];
}
else {
vErrors.push(err7);
}
errors++;
}
}
}
else {
const err8 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema13.type,parentSchema:schema13,data};
if(vErrors === null){
vErrors = [err8];
}
else {
vErrors.push(err8);
}
errors++;
}
validate33.errors = vErrors;
return errors === 0;
}


function validate22(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(data && typeof data == "object" && !Array.isArray(data)){
for(const key0 in data){
if(!(func2.call(schema7.properties, key0))){
const err0 = {instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties",schema:false,parentSchema:schema7,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
}
if(data.local !== undefined){
let data0 = data.local;
if(typeof data0 !== "boolean"){
const err1 = {instancePath:instancePath+"/local",schemaPath:"#/properties/local/type",keyword:"type",params:{type: "boolean"},message:"must be boolean",schema:schema7.properties.local.type,parentSchema:schema7.properties.local,data:data0};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
}
if(data.host !== undefined){
let data1 = data.host;
if(typeof data1 !== "string"){
const err2 = {instancePath:instancePath+"/host",schemaPath:"#/properties/host/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema7.properties.host.type,parentSchema:schema7.properties.host,data:data1};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
}
if(data.port !== undefined){
let data2 = data.port;
if(!(((typeof data2 == "number") && (!(data2 % 1) && !isNaN(data2))) && (isFinite(data2)))){
const err3 = {instancePath:instancePath+"/port",schemaPath:"#/properties/port/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema7.properties.port.type,parentSchema:schema7.properties.port,data:data2};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
}
if(data.user !== undefined){
let data3 = data.user;
if(typeof data3 !== "string"){
const err4 = {instancePath:instancePath+"/user",schemaPath:"#/properties/user/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema7.properties.user.type,parentSchema:schema7.properties.user,data:data3};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
}
if(data.password !== undefined){
let data4 = data.password;
if(typeof data4 !== "string"){
const err5 = {instancePath:instancePath+"/password",schemaPath:"#/properties/password/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema7.properties.password.type,parentSchema:schema7.properties.password,data:data4};
if(vErrors === null){
vErrors = [err5];
}
else {
vErrors.push(err5);
}
errors++;
}
}
if(data.privateKey !== undefined){
let data5 = data.privateKey;
if(typeof data5 !== "string"){
const err6 = {instancePath:instancePath+"/privateKey",schemaPath:"#/properties/privateKey/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema7.properties.privateKey.type,parentSchema:schema7.properties.privateKey,data:data5};
if(vErrors === null){
vErrors = [err6];
}
else {
vErrors.push(err6);
}
errors++;
}
}
if(data.privateKeyPassword !== undefined){
let data6 = data.privateKeyPassword;
if(typeof data6 !== "string"){
const err7 = {instancePath:instancePath+"/privateKeyPassword",schemaPath:"#/properties/privateKeyPassword/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema7.properties.privateKeyPassword.type,parentSchema:schema7.properties.privateKeyPassword,data:data6};
if(vErrors === null){
vErrors = [err7];
}
else {
vErrors.push(err7);
}
errors++;
}
}
if(data.agentSocketPath !== undefined){
let data7 = data.agentSocketPath;
if(typeof data7 !== "string"){
const err8 = {instancePath:instancePath+"/agentSocketPath",schemaPath:"#/properties/agentSocketPath/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema7.properties.agentSocketPath.type,parentSchema:schema7.properties.agentSocketPath,data:data7};
if(vErrors === null){
vErrors = [err8];
}
else {
vErrors.push(err8);
}
errors++;
}
}
if(data.hostKey !== undefined){
let data8 = data.hostKey;
if(typeof data8 !== "string"){
const err9 = {instancePath:instancePath+"/hostKey",schemaPath:"#/properties/hostKey/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema7.properties.hostKey.type,parentSchema:schema7.properties.hostKey,data:data8};
if(vErrors === null){
vErrors = [err9];
}
else {
vErrors.push(err9);
}
errors++;
}
}
if(data.dialErrorLimit !== undefined){
let data9 = data.dialErrorLimit;
if(!(((typeof data9 == "number") && (!(data9 % 1) && !isNaN(data9))) && (isFinite(data9)))){
const err10 = {instancePath:instancePath+"/dialErrorLimit",schemaPath:"#/properties/dialErrorLimit/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema7.properties.dialErrorLimit.type,parentSchema:schema7.properties.dialErrorLimit,data:data9};
if(vErrors === null){
vErrors = [err10];
}
else {
vErrors.push(err10);
}
errors++;
}
}
if(data.perDialTimeout !== undefined){
let data10 = data.perDialTimeout;
if(!(((typeof data10 == "number") && (!(data10 % 1) && !isNaN(data10))) && (isFinite(data10)))){
const err11 = {instancePath:instancePath+"/perDialTimeout",schemaPath:"#/properties/perDialTimeout/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema7.properties.perDialTimeout.type,parentSchema:schema7.properties.perDialTimeout,data:data10};
if(vErrors === null){
vErrors = [err11];
}
else {
vErrors.push(err11);
}
errors++;
}
}
if(data.proxy !== undefined){
if(!(validate23(data.proxy, {instancePath:instancePath+"/proxy",parentData:data,parentDataProperty:"proxy",rootData}))){
vErrors = vErrors === null ? validate23.errors : vErrors.concat(validate23.errors);
errors = vErrors.length;
}
}
if(data.sshOptions !== undefined){
let data12 = data.sshOptions;
if(data12 && typeof data12 == "object" && !Array.isArray(data12)){
for(const key1 in data12){
let data13 = data12[key1];
if(typeof data13 !== "string"){
const err12 = {instancePath:instancePath+"/sshOptions/" + key1.replace(/~/g, "~0").replace(/\//g, "~1"),schemaPath:"#/properties/sshOptions/additionalProperties/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema7.properties.sshOptions.additionalProperties.type,parentSchema:schema7.properties.sshOptions.additionalProperties,data:data13};
if(vErrors === null){
vErrors = [err12];
}
else {
vErrors.push(err12);
}
errors++;
}
}
}
else {
const err13 = {instancePath:instancePath+"/sshOptions",schemaPath:"#/properties/sshOptions/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema7.properties.sshOptions.type,parentSchema:schema7.properties.sshOptions,data:data12};
if(vErrors === null){
vErrors = [err13];
}
else {
vErrors.push(err13);
}
errors++;
}
}
if(data.hostKeyChecking !== undefined){
if(!(validate25(data.hostKeyChecking, {instancePath:instancePath+"/hostKeyChecking",parentData:data,parentDataProperty:"hostKeyChecking",rootData}))){
vErrors = vErrors === null ? validate25.errors : vErrors.concat(validate25.errors);
errors = vErrors.length;
}
}
if(data.become !== undefined){
if(!(validate27(data.become, {instancePath:instancePath+"/become",parentData:data,parentDataProperty:"become",rootData}))){
vErrors = vErrors === null ? validate27.errors : vErrors.concat(validate27.errors);
errors = vErrors.length;
}
}
if(data.server !== undefined){
if(!(validate29(data.server, {instancePath:instancePath+"/server",parentData:data,parentDataProperty:"server",rootData}))){
vErrors = vErrors === null ? validate29.errors : vErrors.concat(validate29.errors);
errors = vErrors.length;
}
}
if(data.client !== undefined){
if(!(validate33(data.client, {instancePath:instancePath+"/client",parentData:data,parentDataProperty:"client",rootData}))){
vErrors = vErrors === null ? validate33.errors : vErrors.concat(validate33.errors);
errors = vErrors.length;
}
}
if(data.idleTimeout !== undefined){
let data18 = data.idleTimeout;
if((!(((typeof data18 == "number") && (!(data18 % 1) && !isNaN(data18))) && (isFinite(data18)))) && (typeof data18 !== "string")){
const err14 = {instancePath:instancePath+"/idleTimeout",schemaPath:"#/properties/idleTimeout/type",keyword:"type",params:{type: schema7.properties.idleTimeout.type},message:"must be integer,string",schema:schema7.properties.idleTimeout.type,parentSchema:schema7.properties.idleTimeout,data:data18};
if(vErrors === null){
vErrors = [err14];
}
else {
vErrors.push(err14);
}
errors++;
}
}
if(data.verifyAs !== undefined){
let data19 = data.verifyAs;
if(Array.isArray(data19)){
const len0 = data19.length;
for(let i0=0; i0<len0; i0++){
let data20 = data19[i0];
if(typeof data20 !== "string"){
const err15 = {instancePath:instancePath+"/verifyAs/" + i0,schemaPath:"#/properties/verifyAs/items/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema7.properties.verifyAs.items.type,parentSchema:schema7.properties.verifyAs.items,data:data20};
if(vErrors === null){
vErrors = [err15];
}
else {
vErrors.push(err15);
}
errors++;
}
}
}
else {
const err16 = {instancePath:instancePath+"/verifyAs",schemaPath:"#/properties/verifyAs/type",keyword:"type",params:{type: "array"},message:"must be array",schema:schema7.properties.verifyAs.type,parentSchema:schema7.properties.verifyAs,data:data19};
if(vErrors === null){
vErrors = [err16];
}
else {
vErrors.push(err16);
}
errors++;
}
}
if(data.allowNoBootGuard !== undefined){
let data21 = data.allowNoBootGuard;
if(typeof data21 !== "boolean"){
const err17 = {instancePath:instancePath+"/allowNoBootGuard",schemaPath:"#/properties/allowNoBootGuard/type",keyword:"type",params:{type: "boolean"},message:"must be boolean",schema:schema7.properties.allowNoBootGuard.type,parentSchema:schema7.properties.allowNoBootGuard,data:data21};
if(vErrors === null){
vErrors = [err17];
}
else {
vErrors.push(err17);
}
errors++;
}
}
}
else {
const err18 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema7.type,parentSchema:schema7,data};
if(vErrors === null){
vErrors = [err18];
}
else {
vErrors.push(err18);
}
errors++;
}
validate22.errors = vErrors;
return errors === 0;
}

const schema14 = {"type":"object","properties":{"host":{"type":"string"},"port":{"type":"integer"},"user":{"type":"string"},"password":{"type":"string"},"privateKey":{"type":"string"},"privateKeyPassword":{"type":"string"},"agentSocketPath":{"type":"string"},"hostKey":{"type":"string"},"dialErrorLimit":{"type":"integer"},"perDialTimeout":{"type":"integer"},"proxy":{"$ref":"#/$defs/sshkeepalive.index.ProxyConnection"},"sshOptions":{"type":"object","additionalProperties":{"type":"string"}},"hostKeyChecking":{"$ref":"#/$defs/sshkeepalive.index.HostKeyChecking"}},"required":[],"additionalProperties":false};

function validate36(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(data && typeof data == "object" && !Array.isArray(data)){
for(const key0 in data){
if(!(func2.call(schema14.properties, key0))){
const err0 = {instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties",schema:false,parentSchema:schema14,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
}
if(data.host !== undefined){
let data0 = data.host;
if(typeof data0 !== "string"){
const err1 = {instancePath:instancePath+"/host",schemaPath:"#/properties/host/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema14.properties.host.type,parentSchema:schema14.properties.host,data:data0};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
}
if(data.port !== undefined){
let data1 = data.port;
if(!(((typeof data1 == "number") && (!(data1 % 1) && !isNaN(data1))) && (isFinite(data1)))){
const err2 = {instancePath:instancePath+"/port",schemaPath:"#/properties/port/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema14.properties.port.type,parentSchema:schema14.properties.port,data:data1};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
}
if(data.user !== undefined){
let data2 = data.user;
if(typeof data2 !== "string"){
const err3 = {instancePath:instancePath+"/user",schemaPath:"#/properties/user/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema14.properties.user.type,parentSchema:schema14.properties.user,data:data2};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
}
if(data.password !== undefined){
let data3 = data.password;
if(typeof data3 !== "string"){
const err4 = {instancePath:instancePath+"/password",schemaPath:"#/properties/password/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema14.properties.password.type,parentSchema:schema14.properties.password,data:data3};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
}
if(data.privateKey !== undefined){
let data4 = data.privateKey;
if(typeof data4 !== "string"){
const err5 = {instancePath:instancePath+"/privateKey",schemaPath:"#/properties/privateKey/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema14.properties.privateKey.type,parentSchema:schema14.properties.privateKey,data:data4};
if(vErrors === null){
vErrors = [err5];
}
else {
vErrors.push(err5);
}
errors++;
}
}
if(data.privateKeyPassword !== undefined){
let data5 = data.privateKeyPassword;
if(typeof data5 !== "string"){
const err6 = {instancePath:instancePath+"/privateKeyPassword",schemaPath:"#/properties/privateKeyPassword/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema14.properties.privateKeyPassword.type,parentSchema:schema14.properties.privateKeyPassword,data:data5};
if(vErrors === null){
vErrors = [err6];
}
else {
vErrors.push(err6);
}
errors++;
}
}
if(data.agentSocketPath !== undefined){
let data6 = data.agentSocketPath;
if(typeof data6 !== "string"){
const err7 = {instancePath:instancePath+"/agentSocketPath",schemaPath:"#/properties/agentSocketPath/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema14.properties.agentSocketPath.type,parentSchema:schema14.properties.agentSocketPath,data:data6};
if(vErrors === null){
vErrors = [err7];
}
else {
vErrors.push(err7);
}
errors++;
}
}
if(data.hostKey !== undefined){
let data7 = data.hostKey;
if(typeof data7 !== "string"){
const err8 = {instancePath:instancePath+"/hostKey",schemaPath:"#/properties/hostKey/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema14.properties.hostKey.type,parentSchema:schema14.properties.hostKey,data:data7};
if(vErrors === null){
vErrors = [err8];
}
else {
vErrors.push(err8);
}
errors++;
}
}
if(data.dialErrorLimit !== undefined){
let data8 = data.dialErrorLimit;
if(!(((typeof data8 == "number") && (!(data8 % 1) && !isNaN(data8))) && (isFinite(data8)))){
const err9 = {instancePath:instancePath+"/dialErrorLimit",schemaPath:"#/properties/dialErrorLimit/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema14.properties.dialErrorLimit.type,parentSchema:schema14.properties.dialErrorLimit,data:data8};
if(vErrors === null){
vErrors = [err9];
}
else {
vErrors.push(err9);
}
errors++;
}
}
if(data.perDialTimeout !== undefined){
let data9 = data.perDialTimeout;
if(!(((typeof data9 == "number") && (!(data9 % 1) && !isNaN(data9))) && (isFinite(data9)))){
const err10 = {instancePath:instancePath+"/perDialTimeout",schemaPath:"#/properties/perDialTimeout/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema14.properties.perDialTimeout.type,parentSchema:schema14.properties.perDialTimeout,data:data9};
if(vErrors === null){
vErrors = [err10];
}
else {
vErrors.push(err10);
}
errors++;
}
}
if(data.proxy !== undefined){
if(!(validate23(data.proxy, {instancePath:instancePath+"/proxy",parentData:data,parentDataProperty:"proxy",rootData}))){
vErrors = vErrors === null ? validate23.errors : vErrors.concat(validate23.errors);
errors = vErrors.length;
}
}
if(data.sshOptions !== undefined){
let data11 = data.sshOptions;
if(data11 && typeof data11 == "object" && !Array.isArray(data11)){
for(const key1 in data11){
let data12 = data11[key1];
if(typeof data12 !== "string"){
const err11 = {instancePath:instancePath+"/sshOptions/" + key1.replace(/~/g, "~0").replace(/\//g, "~1"),schemaPath:"#/properties/sshOptions/additionalProperties/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema14.properties.sshOptions.additionalProperties.type,parentSchema:schema14.properties.sshOptions.additionalProperties,data:data12};
if(vErrors === null){
vErrors = [err11];
}
else {
vErrors.push(err11);
}
errors++;
}
}
}
else {
const err12 = {instancePath:instancePath+"/sshOptions",schemaPath:"#/properties/sshOptions/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema14.properties.sshOptions.type,parentSchema:schema14.properties.sshOptions,data:data11};
if(vErrors === null){
vErrors = [err12];
}
else {
vErrors.push(err12);
}
errors++;
}
}
if(data.hostKeyChecking !== undefined){
if(!(validate25(data.hostKeyChecking, {instancePath:instancePath+"/hostKeyChecking",parentData:data,parentDataProperty:"hostKeyChecking",rootData}))){
vErrors = vErrors === null ? validate25.errors : vErrors.concat(validate25.errors);
errors = vErrors.length;
}
}
}
else {
const err13 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema14.type,parentSchema:schema14,data};
if(vErrors === null){
vErrors = [err13];
}
else {
vErrors.push(err13);
}
errors++;
}
validate36.errors = vErrors;
return errors === 0;
}

const schema15 = {"type":"object","properties":{"parallel":{"type":"integer"},"canary":{"type":["integer","string"]},"maxFailures":{"type":"integer"}},"required":[],"additionalProperties":false};

function validate43(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(data && typeof data == "object" && !Array.isArray(data)){
for(const key0 in data){
if(!(((key0 === "parallel") || (key0 === "canary")) || (key0 === "maxFailures"))){
const err0 = {instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties",schema:false,parentSchema:schema15,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
}
if(data.parallel !== undefined){
let data0 = data.parallel;
if(!(((typeof data0 == "number") && (!(data0 % 1) && !isNaN(data0))) && (isFinite(data0)))){
const err1 = {instancePath:instancePath+"/parallel",schemaPath:"#/properties/parallel/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema15.properties.parallel.type,parentSchema:schema15.properties.parallel,data:data0};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
}
if(data.canary !== undefined){
let data1 = data.canary;
if((!(((typeof data1 == "number") && (!(data1 % 1) && !isNaN(data1))) && (isFinite(data1)))) && (typeof data1 !== "string")){
const err2 = {instancePath:instancePath+"/canary",schemaPath:"#/properties/canary/type",keyword:"type",params:{type: schema15.properties.canary.type},message:"must be integer,string",schema:schema15.properties.canary.type,parentSchema:schema15.properties.canary,data:data1};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
}
if(data.maxFailures !== undefined){
let data2 = data.maxFailures;
if(!(((typeof data2 == "number") && (!(data2 % 1) && !isNaN(data2))) && (isFinite(data2)))){
const err3 = {instancePath:instancePath+"/maxFailures",schemaPath:"#/properties/maxFailures/type",keyword:"type",params:{type: "integer"},message:"must be integer",schema:schema15.properties.maxFailures.type,parentSchema:schema15.properties.maxFailures,data:data2};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
}
}
else {
const err4 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema15.type,parentSchema:schema15,data};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
validate43.errors = vErrors;
return errors === 0;
}


function validate21(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(data && typeof data == "object" && !Array.isArray(data)){
if(data.hosts === undefined){
const err0 = {instancePath,schemaPath:"#/required",keyword:"required",params:{missingProperty: "hosts"},message:"must have required property '"+"hosts"+"'",schema:schema6.required,parentSchema:schema6,data};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
for(const key0 in data){
if(!(func2.call(schema6.properties, key0))){
const err1 = {instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties",schema:false,parentSchema:schema6,data};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
}
if(data.hosts !== undefined){
let data0 = data.hosts;
if(data0 && typeof data0 == "object" && !Array.isArray(data0)){
for(const key1 in data0){
if(!(validate22(data0[key1], {instancePath:instancePath+"/hosts/" + key1.replace(/~/g, "~0").replace(/\//g, "~1"),parentData:data0,parentDataProperty:key1,rootData}))){
vErrors = vErrors === null ? validate22.errors : vErrors.concat(validate22.errors);
errors = vErrors.length;
}
}
}
else {
const err2 = {instancePath:instancePath+"/hosts",schemaPath:"#/properties/hosts/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema6.properties.hosts.type,parentSchema:schema6.properties.hosts,data:data0};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
}
if(data.connection !== undefined){
if(!(validate36(data.connection, {instancePath:instancePath+"/connection",parentData:data,parentDataProperty:"connection",rootData}))){
vErrors = vErrors === null ? validate36.errors : vErrors.concat(validate36.errors);
errors = vErrors.length;
}
}
if(data.become !== undefined){
if(!(validate27(data.become, {instancePath:instancePath+"/become",parentData:data,parentDataProperty:"become",rootData}))){
vErrors = vErrors === null ? validate27.errors : vErrors.concat(validate27.errors);
errors = vErrors.length;
}
}
if(data.server !== undefined){
if(!(validate29(data.server, {instancePath:instancePath+"/server",parentData:data,parentDataProperty:"server",rootData}))){
vErrors = vErrors === null ? validate29.errors : vErrors.concat(validate29.errors);
errors = vErrors.length;
}
}
if(data.client !== undefined){
if(!(validate33(data.client, {instancePath:instancePath+"/client",parentData:data,parentDataProperty:"client",rootData}))){
vErrors = vErrors === null ? validate33.errors : vErrors.concat(validate33.errors);
errors = vErrors.length;
}
}
if(data.idleTimeout !== undefined){
let data6 = data.idleTimeout;
if((!(((typeof data6 == "number") && (!(data6 % 1) && !isNaN(data6))) && (isFinite(data6)))) && (typeof data6 !== "string")){
const err3 = {instancePath:instancePath+"/idleTimeout",schemaPath:"#/properties/idleTimeout/type",keyword:"type",params:{type: schema6.properties.idleTimeout.type},message:"must be integer,string",schema:schema6.properties.idleTimeout.type,parentSchema:schema6.properties.idleTimeout,data:data6};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
}
if(data.rollout !== undefined){
if(!(validate43(data.rollout, {instancePath:instancePath+"/rollout",parentData:data,parentDataProperty:"rollout",rootData}))){
vErrors = vErrors === null ? validate43.errors : vErrors.concat(validate43.errors);
errors = vErrors.length;
}
}
if(data.confirmTimeout !== undefined){
let data8 = data.confirmTimeout;
if((!(((typeof data8 == "number") && (!(data8 % 1) && !isNaN(data8))) && (isFinite(data8)))) && (typeof data8 !== "string")){
const err4 = {instancePath:instancePath+"/confirmTimeout",schemaPath:"#/properties/confirmTimeout/type",keyword:"type",params:{type: schema6.properties.confirmTimeout.type},message:"must be integer,string",schema:schema6.properties.confirmTimeout.type,parentSchema:schema6.properties.confirmTimeout,data:data8};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
}
if(data.verifyAs !== undefined){
let data9 = data.verifyAs;
if(Array.isArray(data9)){
const len0 = data9.length;
for(let i0=0; i0<len0; i0++){
let data10 = data9[i0];
if(typeof data10 !== "string"){
const err5 = {instancePath:instancePath+"/verifyAs/" + i0,schemaPath:"#/properties/verifyAs/items/type",keyword:"type",params:{type: "string"},message:"must be string",schema:schema6.properties.verifyAs.items.type,parentSchema:schema6.properties.verifyAs.items,data:data10};
if(vErrors === null){
vErrors = [err5];
}
else {
vErrors.push(err5);
}
errors++;
}
}
}
else {
const err6 = {instancePath:instancePath+"/verifyAs",schemaPath:"#/properties/verifyAs/type",keyword:"type",params:{type: "array"},message:"must be array",schema:schema6.properties.verifyAs.type,parentSchema:schema6.properties.verifyAs,data:data9};
if(vErrors === null){
vErrors = [err6];
}
else {
vErrors.push(err6);
}
errors++;
}
}
if(data.allowNoBootGuard !== undefined){
let data11 = data.allowNoBootGuard;
if(typeof data11 !== "boolean"){
const err7 = {instancePath:instancePath+"/allowNoBootGuard",schemaPath:"#/properties/allowNoBootGuard/type",keyword:"type",params:{type: "boolean"},message:"must be boolean",schema:schema6.properties.allowNoBootGuard.type,parentSchema:schema6.properties.allowNoBootGuard,data:data11};
if(vErrors === null){
vErrors = [err7];
}
else {
vErrors.push(err7);
}
errors++;
}
}
}
else {
const err8 = {instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object",schema:schema6.type,parentSchema:schema6,data};
if(vErrors === null){
vErrors = [err8];
}
else {
vErrors.push(err8);
}
errors++;
}
validate21.errors = vErrors;
return errors === 0;
}

