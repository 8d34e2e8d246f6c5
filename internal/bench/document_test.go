package main

import (
	"slices"
	"testing"
)

func TestTheDocumentsOwnChangeDoesNotCount(t *testing.T) {
	t.Parallel()
	const document = "docs/performance.md"
	for status, want := range map[string][]string{
		"":                                   nil,
		" M docs/performance.md\x00":         nil,
		"M  docs/performance.md\x00?? x\x00": {"x"},
		" M internal/server/runs.go\x00 D docs/performance.md.old\x00": {"internal/server/runs.go", "docs/performance.md.old"},
	} {
		got := changes(status, document)
		if !slices.Equal(got, want) {
			t.Errorf("changes in %q are %q, want %q", status, got, want)
		}
		if err := (source{changed: got}).mayBeWritten(); (err == nil) != (want == nil) {
			t.Errorf("%q: %v", status, err)
		}
	}
}
