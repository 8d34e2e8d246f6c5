package server

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
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
		"an hour":                  then.are(7, 3, now.Add(1)),
		"rows that are not known":  versions{connections: 3, at: now}.are(0, 3, now),
		"rows that were not known": versions{connections: 3, at: now}.comparable(3, now),
	} {
		if are {
			t.Errorf("versions are taken for the same in spite of %s", why)
		}
	}
}

func TestARowsVersionIsItsTransactionAndItsPlace(t *testing.T) {
	t.Parallel()
	fields := []pgconn.FieldDescription{{Name: columnID}}
	sumOf := func(versions ...[]byte) uint64 {
		var s versionSum
		s.add(rawRow{fields: fields, values: append([][]byte{{7}}, versions...)}, len(versions))
		return s.sum()
	}
	transaction, place := []byte{0, 0, 1, 2}, []byte{0, 0, 0, 3, 0, 4}
	sums := map[uint64]string{}
	for what, sum := range map[string]uint64{
		"a row":               sumOf(transaction, place),
		"another transaction": sumOf([]byte{0, 0, 1, 3}, place),
		"another place":       sumOf(transaction, []byte{0, 0, 0, 3, 0, 5}),
		"joined with one":     sumOf(transaction, place, transaction, place, nil, nil),
		"joined with another": sumOf(transaction, place, nil, nil, transaction, place),
		"joined with none":    sumOf(transaction, place, nil, nil, nil, nil),
	} {
		if sums[sum] != "" {
			t.Errorf("%s has the same sum as %s", what, sums[sum])
		}
		sums[sum] = what
	}
	for _, n := range []narrowed{{}, {joined: []string{"findings", "baseline", "current"}}} {
		if got, want := len(n.versions()), 2*max(len(n.joined), 1); got != want {
			t.Errorf("%d columns tell the versions of %v, want %d", got, n.joined, want)
		}
	}
}
