package ledger_test

import (
	"os"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/ledger"
)

func TestTheQueriesKnowTheTypesOfASchedulesHistory(t *testing.T) {
	t.Parallel()
	queries, err := os.ReadFile("../../sql/queries/diff.sql")
	if err != nil {
		t.Fatal(err)
	}
	if wanted := "type IN ('" + strings.Join(ledger.ScheduleTypes, "', '") + "')"; !strings.Contains(string(queries), wanted) {
		t.Errorf("no query has %s", wanted)
	}
}
