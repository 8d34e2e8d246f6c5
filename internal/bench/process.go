package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// cost is CPU time.
type cost struct{ server, database time.Duration }

func (c cost) total() time.Duration { return c.server + c.database }

// less is what was spent since before.
func (c cost) less(before cost) cost {
	return cost{c.server - before.server, c.database - before.database}
}

// perThousand is the cost of a thousand of so many.
func (c cost) perThousand(n int) cost {
	per := func(d time.Duration) time.Duration { return d * 1000 / time.Duration(n) }
	return cost{per(c.server), per(c.database)}
}

// Fields of /proc/<pid>/stat behind the name, counted from 0 (proc_pid_stat(5)).
const (
	fieldUser       = 11
	fieldChildsUser = 13
)

// cpuTime is what a process has run, in user and system mode.
func cpuTime(pid int) (time.Duration, error) { return procTime(pid, fieldUser) }

// childrenTime is what those children of a process have run that have ended.
func childrenTime(pid int) (time.Duration, error) { return procTime(pid, fieldChildsUser) }

// procTime is the sum of a field of a process's times and of the next: user and system mode.
func procTime(pid, field int) (time.Duration, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The name is in parentheses and may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const tick = 10 * time.Millisecond
	var ticks int64
	for _, f := range fields[field : field+2] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// memory is a line of /proc/<pid>/status in bytes: VmRSS, or VmHWM, the most that VmRSS has been.
func memory(pid int, line string) (int64, error) { return sizeIn(pid, "status", line) }

// proportionalMemory is what a process takes of the machine's memory, in bytes: what it has to itself
// and its share of what it has in common with others.
func proportionalMemory(pid int) (int64, error) { return sizeIn(pid, "smaps_rollup", "Pss") }

// sizeIn is a line of a file in /proc/<pid> that tells a size in KiB, in bytes.
func sizeIn(pid int, file, line string) (int64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + file)
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(l, line+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/%s has no %s", pid, file, line)
}

// childrenOf is how many children a process has that have not been collected.
func childrenOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
	if err != nil {
		return 0
	}
	return len(strings.Fields(string(text)))
}
