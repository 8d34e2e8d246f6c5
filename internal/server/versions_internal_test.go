package server

import (
	"testing"
	"time"
)

func TestVersionsAreComparedOnlyWhileTheirTransactionsHaveNumbersOfTheirOwn(t *testing.T) {
	t.Parallel()
	now := time.Now()
	then := versions{sum: 7, connections: 3, at: now.Add(-comparableFor + 1)}
	if !then.are(7, 3, now) {
		t.Error("the same versions are not the same")
	}
	for why, are := range map[string]bool{
		"other rows": then.are(8, 3, now),
		"a connection that is new, as after a crash": then.are(7, 4, now),
		"an hour":                 then.are(7, 3, now.Add(1)),
		"rows that are not known": versions{connections: 3, at: now}.are(0, 3, now),
	} {
		if are {
			t.Errorf("versions are taken for the same in spite of %s", why)
		}
	}
}
