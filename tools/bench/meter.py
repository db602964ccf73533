"""Runs commands one after another and measures each with all it starts, detached processes included.

As a subreaper (prctl(2), Linux) this process becomes the parent of what a command leaves behind, such as ssh's shared
connections, so their processor time is in its books too: of a command counts what was used between its start and its
end, by whichever descendant. One JSON object a line on standard input, one answer a line on standard output:

  {"argv": [...], "cwd": "...", "env": {...}, "timeout": seconds, "output": file}
      -> {"code": status, "seconds": wall, "cpu": user and system seconds, "peak": MiB, "largest": MiB}
  {"clear": true} ends whatever the commands left behind -> {"ended": processes}
"""
import ctypes
import json
import os
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE = 0.25  # seconds between two looks at memory, more where one look is dear
CHILD_ENDED = {signal.SIGCHLD}


def descendants():
    """Process id -> processor seconds, its own and those of children it has waited for."""
    found, children = {}, {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # Behind the command's name, which may hold anything: state, parent, ..., utime, stime, cutime, cstime.
                fields = file.read().rpartition(b") ")[2].split()
        except OSError:
            continue
        found[int(name)] = sum(map(int, fields[11:15])) / TICKS
        children.setdefault(int(fields[1]), []).append(int(name))
    below, todo = {}, [os.getpid()]
    while todo:
        for pid in children.get(todo.pop(), ()):
            below[pid] = found[pid]
            todo.append(pid)
    return below


def reap(main=None):
    """Waits for whatever has ended; the status of `main` if it is among them."""
    status = None
    while True:
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == main:
            status = os.waitstatus_to_exitcode(how)


def processor_seconds():
    times = os.times()
    return times.children_user + times.children_system + sum(descendants().values())


def memory():
    """MiB of all descendants together, shared pages counted once (PSS), and of the largest."""
    sizes = [0]
    for pid in descendants():
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                sizes.append(next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024)
        except (OSError, StopIteration):
            pass  # ended meanwhile
    return sum(sizes), max(sizes)


def end(pids, how):
    for pid in pids:
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            pass


def clear():
    count, deadline = len(descendants()), time.monotonic() + 3
    how = signal.SIGTERM  # ssh and ssh-agent remove their sockets on this one
    while pids := descendants():
        end(pids, how)
        signal.sigtimedwait(CHILD_ENDED, 0.05)
        reap()
        if time.monotonic() > deadline:
            how = signal.SIGKILL
    return {"ended": count}


def start(request):
    pid = os.fork()
    if pid != 0:
        return pid
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CHILD_ENDED)
        os.chdir(request["cwd"])
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execvpe(request["argv"][0], request["argv"], request["env"])
    except OSError as error:
        os.write(2, f"{request['argv'][0]}: {error}\n".encode())
    finally:
        os._exit(127)


def run(request):
    reap()
    before, began = processor_seconds(), time.monotonic()
    deadline, look = began + request["timeout"], began + SAMPLE / 2
    main, peak, largest = start(request), 0, 0
    while True:
        now = time.monotonic()
        signal.sigtimedwait(CHILD_ENDED, max(0, min(look, deadline) - now))
        status = reap(main)
        now = time.monotonic()
        if status is not None:
            break
        if now >= deadline:
            end(descendants(), signal.SIGKILL)
            deadline = now + 1
        elif now >= look:
            together, one = memory()
            peak, largest = max(peak, together), max(largest, one)
            cost = time.monotonic() - now
            look = now + max(SAMPLE, 20 * cost)
    cpu = processor_seconds() - before
    return {"code": status, "seconds": now - began, "cpu": cpu, "peak": peak, "largest": largest}


def main():
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("prctl(PR_SET_CHILD_SUBREAPER) failed")
    signal.pthread_sigmask(signal.SIG_BLOCK, CHILD_ENDED)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(clear() if request.get("clear") else run(request)), flush=True)
    clear()


main()
