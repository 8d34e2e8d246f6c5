package ledger_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/ledger"
)

// A query that lists types is one of a schedule's history, and names all of them.
func TestTheQueriesKnowTheTypesOfASchedulesHistory(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../sql/queries/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	lists := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`type IN \(([^)]*)\)`).FindAllStringSubmatch(string(text), -1) {
			lists++
			named := strings.Split(strings.ReplaceAll(found[1], "'", ""), ", ")
			if diff := cmp.Diff(slices.Sorted(slices.Values(ledger.ScheduleTypes)), slices.Sorted(slices.Values(named))); diff != "" {
				t.Errorf("%s: %s", file, diff)
			}
		}
	}
	if lists == 0 {
		t.Error("no query lists types")
	}
}
