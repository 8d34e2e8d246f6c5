package main

import (
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
)

// The interface tells it in seconds.
func TestATypeIsStaleAfterWholeSeconds(t *testing.T) {
	t.Parallel()
	environ := []string{"RUNLEDGER_DATABASE_URL=" + dbtest.Fresh(t)}
	for _, staleAfter := range []string{"500ns", "1us", "500ms", "1500ms", "-1s", "-1ns"} {
		code, _, stderr := command(t, environ, "types", "add", "policy_export", "--stale-after", staleAfter)
		if code != exitUsage || !strings.Contains(stderr, "--stale-after wants whole seconds, such as 1s or 15m, or 0 for ever") {
			t.Errorf("%s: exit code %d: %s", staleAfter, code, stderr)
		}
	}
	for name, staleAfter := range map[string]string{"policy_export": "1s", "policy_import": "0", "policy_check": "1m1s"} {
		does(t, environ, "types", "add", name, "--stale-after", staleAfter)
	}
}

func TestATypeIsNamedAsAStartCanNameIt(t *testing.T) {
	t.Parallel()
	environ := []string{"RUNLEDGER_DATABASE_URL=" + dbtest.Fresh(t)}
	longest := strings.Repeat("a", mostTypeName)
	does(t, environ, "types", "add", longest)
	code, _, stderr := command(t, environ, "types", "add", longest+"a")
	if code != exitUsage || !strings.Contains(stderr, "at most 255") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
