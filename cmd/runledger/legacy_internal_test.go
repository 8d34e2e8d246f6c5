package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

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
