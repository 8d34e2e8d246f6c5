package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestAPasswordInAnAddressIsSeen(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"": false, "postgres://runledger@localhost/runledger": false, "host=localhost user=runledger": false,
		"postgres://runledger:secret@localhost/runledger": true, "host=localhost password = secret": true, "postgres://localhost/r?password=secret": true,
	} {
		if holdsPassword(address) != want {
			t.Errorf("%s: not %v", address, want)
		}
	}
}

func TestAPromptIsAnsweredByALineOrEndsWithItsCommand(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]string{"runledger\n": "runledger", " runledger \r\nmore": "runledger", "runledger": "runledger"} {
		if got, err := typed(t.Context(), strings.NewReader(input)); got != want || err != nil {
			t.Errorf("%q: %q, %v", input, got, err)
		}
	}
	if _, err := typed(t.Context(), strings.NewReader("")); err == nil || !strings.Contains(err.Error(), "--confirm") {
		t.Errorf("nobody: %v", err)
	}
	waits, _ := io.Pipe()
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := typed(ctx, waits); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	_ = waits.Close()
}
