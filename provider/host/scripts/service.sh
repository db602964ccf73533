# The service manager that starts sshd: which it is, how it has the daemon read its files again, how it brings a dead one
# back, and the boot guard, which undoes an unconfirmed change before sshd starts.

# init_system: what starts this host's services at boot, in $INIT: systemd, openrc, sysvinit; other: something that we do
# not know; none: nothing (containers).
init_system() {
  INIT=none
  process 1 || COMM=
  if [ -d /run/systemd/system ]; then
    INIT=systemd
  elif [ -e /run/openrc/softlevel ]; then
    INIT=openrc
  else
    system
    case $SYSTEM:$COMM in
      Linux:init) if [ -d /etc/rcS.d ]; then INIT=sysvinit; else INIT=other; fi ;;
      Linux:runit* | Linux:s6-* | Linux:dinit | Linux:procd) INIT=other ;;
      Linux:*) ;;
      *) INIT=other ;;
    esac
  fi
}

# service_of PID: what looks after the daemon PID, whose arguments are in $ARGS.
#   $MANAGER     as $INIT; none for a daemon that someone runs with a configuration of their own
#   $UNIT        its unit or service name there; empty: it is told and started without the manager
#   $SOCKET      systemd: the listening socket unit that starts it with the first connection (Accept=no), if any
#   $ACTIVATION  what to ask of systemd: `reload`, or `restart` where a reload would end it
service_of() {
  MANAGER=none
  UNIT=
  SOCKET=
  ACTIVATION=reload
  init_system
  daemon_options
  group_='' shown_=''
  if [ "$INIT" = systemd ] && [ -r "/proc/$1/cgroup" ]; then
    while IFS= read -r line_; do group_=${line_##*/}; done <"/proc/$1/cgroup"
    case $group_ in
      *.service)
        shown_=$(systemctl show -p MainPID -p TriggeredBy "$group_" 2>/dev/null)
        # A daemon that runs inside another service (a CI runner, a test) is not that service.
        case $NL$shown_$NL in *"${NL}MainPID=$1$NL"*) ;; *) group_= ;; esac
        ;;
      *) group_= ;;
    esac
  fi
  [ -n "$group_" ] || [ "${DAEMON_CONFIG:-/etc/ssh/sshd_config}" = /etc/ssh/sshd_config ] || return 0
  MANAGER=$INIT
  UNIT=$group_
  case $INIT in
    systemd)
      [ -n "$UNIT" ] || return 0
      # A HUP ends a socket-activated daemon: the socket is not its own to bind again.
      sockets_=${shown_##*TriggeredBy=}
      for socket_ in ${sockets_%%"$NL"*}; do
        case $socket_ in *.socket) ;; *) continue ;; esac
        if systemctl is-active --quiet "$socket_"; then
          SOCKET=$socket_
          ACTIVATION=restart
        fi
      done
      ;;
    openrc | sysvinit)
      # The service's own way judges by the PidFile: it must be this daemon's.
      for name_ in sshd ssh; do
        [ -x "/etc/init.d/$name_" ] || continue
        for pidfile_ in /run/sshd.pid /var/run/sshd.pid "/run/$name_.pid"; do
          [ -r "$pidfile_" ] && read -r in_pidfile_ <"$pidfile_" && [ "$in_pidfile_" = "$1" ] && UNIT=$name_
        done
      done
      ;;
  esac
}

# started_for_connection PID: sshd was started for this connection alone, by ssh.socket with Accept=yes or a kind of
# inetd. Otherwise the daemon that accepted it has ended since, and a new login may find nobody.
started_for_connection() {
  process "$1" && process "$PPID_" || return 1
  case $COMM in *inetd* | *tcpsvd* | tcpserver | launchd) return 0 ;; esac
  [ -d /run/systemd/system ] || return 1
  for socket_ in ssh.socket sshd.socket; do
    # With Accept=no there was one daemon for all connections, and this one outlived it.
    if systemctl is-active --quiet "$socket_" && [ "$(systemctl show -p Accept --value "$socket_" 2>/dev/null)" = yes ]; then
      return 0
    fi
  done
  return 1
}

# daemon_now: the pid of the daemon after an activation, in $DAEMON: the same one, or its successor.
daemon_now() {
  DAEMON=
  if same_process "$PID" "$PID_START"; then
    DAEMON=$PID
    return 0
  fi
  if [ "$MANAGER" = systemd ] && [ -n "$UNIT" ]; then
    DAEMON=$(systemctl show -p MainPID --value "$UNIT" 2>/dev/null)
    [ "${DAEMON:-0}" -gt 0 ] 2>/dev/null && process "$DAEMON" && return 0
  fi
  DAEMON=
  if [ -n "$PIDFILE" ] && read -r DAEMON 2>/dev/null <"$PIDFILE" && process "$DAEMON" && [ "$COMM" = sshd ]; then
    return 0
  fi
  DAEMON=
  return 1
}

# tell_daemon: has the daemon read its files again, by the way that fits. Returns before it has.
tell_daemon() {
  if [ -n "$RELOAD" ]; then
    with_lines "$RELOAD" </dev/null >>"$T/log" 2>&1
    return
  fi
  case ${UNIT:+$MANAGER} in
    systemd)
      # Restarts are counted, and after five in ten seconds refused: ours must not be the one too many.
      [ "$ACTIVATION" = reload ] || systemctl reset-failed "$UNIT" 2>/dev/null
      systemctl "$ACTIVATION" "$UNIT" </dev/null >>"$T/log" 2>&1
      ;;
    openrc) rc-service "$UNIT" reload </dev/null >>"$T/log" 2>&1 ;;
    sysvinit) "/etc/init.d/$UNIT" reload </dev/null >>"$T/log" 2>&1 ;;
    *) same_process "$PID" "$PID_START" && kill -HUP "$PID" ;;
  esac
}

# in_background COMMAND...: starts it, with nothing to read or to write to; $! is its process.
in_background() { "$@" </dev/null >/dev/null 2>&1 & }

# start_daemon: brings back a daemon that is no more; fails when that did not work at once.
start_daemon() {
  case ${UNIT:+$MANAGER} in
    systemd)
      # shellcheck disable=SC2086 # no socket, no word
      systemctl reset-failed $SOCKET "$UNIT" >/dev/null 2>&1
      if [ -n "$SOCKET" ] && ! systemctl is-active --quiet "$SOCKET"; then
        # The socket does not start while a service that it would trigger is around.
        systemctl stop "$UNIT" >>"$T/log" 2>&1
        systemctl start "$SOCKET" >>"$T/log" 2>&1 || return 1
      fi
      systemctl reload-or-restart "$UNIT" </dev/null >>"$T/log" 2>&1
      ;;
    openrc)
      rc-service "$UNIT" zap </dev/null >>"$T/log" 2>&1
      rc-service "$UNIT" start </dev/null >>"$T/log" 2>&1
      ;;
    sysvinit) "/etc/init.d/$UNIT" start </dev/null >>"$T/log" 2>&1 ;;
    *)
      # The daemon itself, by its own command line; -D would hold us, so it goes to the background.
      if command -v setsid >/dev/null 2>&1; then set -- setsid; else set --; fi
      with_lines "$DAEMON_ARGV" in_background "$@"
      nap
      nap
      daemon_now && return 0
      kill -0 $! 2>/dev/null
      return
      ;;
  esac && daemon_now
}

# place_guard MANAGER: what reverts an unconfirmed change at boot, before sshd starts. Fails with $WHY where there can be
# none. The files it is made of are named in $T/guard, a service to be unregistered in $T/guard.service.
place_guard() {
  guard_=pulumi-ssh-keepalive-${TARGET##*/}
  case $1 in
    none | '') return 0 ;;
    systemd)
      WHY="no unit can be placed in /etc/systemd/system"
      at_=/etc/systemd/system/$guard_.service
      wanted_=/etc/systemd/system/sysinit.target.wants
      printf '%s\n' "$at_" "$wanted_/$guard_.service" >"$T/guard"
      [ -d "$wanted_" ] || mkdir -p "$wanted_" 2>/dev/null
      { guard_unit >"$at_" && ln -sf "$at_" "$wanted_/$guard_.service"; } 2>/dev/null || return 1
      flush "$at_" "$wanted_"
      ;;
    openrc)
      WHY="no service can be placed in /etc/init.d and /etc/runlevels"
      at_=/etc/init.d/$guard_
      printf '%s\n' "$at_" >"$T/guard"
      { guard_openrc >"$at_" && chmod 755 "$at_"; } 2>/dev/null || return 1
      # Into the runlevel that starts sshd: not every system goes through the one named boot.
      for wanted_ in /etc/runlevels/*; do
        if [ -L "$wanted_/sshd" ] || [ -L "$wanted_/ssh" ]; then
          printf '%s\n' "$wanted_/$guard_" >>"$T/guard"
          ln -sf "$at_" "$wanted_/$guard_" 2>/dev/null || return 1
          flush "$at_" "$wanted_"
        fi
      done
      ;;
    sysvinit)
      WHY="no script can be placed in /etc/init.d and /etc/rcS.d"
      at_=/etc/init.d/$guard_
      printf '%s\n' "$at_" "/etc/rcS.d/S99$guard_" >"$T/guard"
      { guard_sysvinit >"$at_" && chmod 755 "$at_"; } 2>/dev/null || return 1
      if command -v update-rc.d >/dev/null 2>&1; then
        # Debian starts what insserv knows of, in the order of its headers.
        printf '%s\n' "$guard_" >"$T/guard.service"
        update-rc.d "$guard_" defaults >/dev/null 2>&1 || return 1
      else
        ln -sf "../init.d/$guard_" "/etc/rcS.d/S99$guard_" 2>/dev/null || return 1
      fi
      flush "$at_" /etc/rcS.d
      ;;
    *)
      WHY="sshd is started by a service manager that is not systemd, OpenRC or sysvinit"
      return 1
      ;;
  esac
  WHY=
}

# guard_parts: what place_guard placed, in $GUARD_FILES and $GUARD_SERVICE.
guard_parts() {
  GUARD_FILES='' GUARD_SERVICE=''
  [ -f "$T/guard" ] || return 0
  while IFS= read -r file_; do
    GUARD_FILES=$GUARD_FILES$file_$NL
  done <"$T/guard"
  if [ -f "$T/guard.service" ]; then
    line "$T/guard.service"
    GUARD_SERVICE=$LINE
  fi
}

# remove_guard: takes these away.
remove_guard() {
  [ -z "$GUARD_FILES" ] || with_lines "$GUARD_FILES" rm -f --
  if [ -n "$GUARD_SERVICE" ]; then update-rc.d "$GUARD_SERVICE" remove >/dev/null 2>&1; fi
  return 0
}

# take_guard_away: whatever place_guard placed.
take_guard_away() {
  [ -f "$T/guard" ] || return 0
  guard_parts
  remove_guard
}

guard_unit() {
  printf '%s\n' "[Unit]
Description=Reverts an unconfirmed change to the SSH keepalive settings
DefaultDependencies=no
ConditionPathExists=$T/conf
RequiresMountsFor=$TARGET /etc/ssh
After=local-fs.target
Before=ssh.service sshd.service ssh.socket sshd.socket sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh $T/run.sh guard $T"
}

guard_openrc() {
  cat <<END
#!/sbin/openrc-run
description="Reverts an unconfirmed change to the SSH keepalive settings"
depend() {
  use localmount
  before sshd ssh
}
start() {
  [ ! -f "$T/conf" ] || /bin/sh "$T/run.sh" guard "$T"
}
END
}

guard_sysvinit() {
  cat <<END
#!/bin/sh
### BEGIN INIT INFO
# Provides:          $guard_
# Required-Start:    \$local_fs
# Required-Stop:
# X-Start-Before:    ssh sshd
# Default-Start:     S
# Default-Stop:
# Short-Description: Reverts an unconfirmed change to the SSH keepalive settings
### END INIT INFO
[ ! -f "$T/conf" ] || /bin/sh "$T/run.sh" guard "$T"
exit 0
END
}
