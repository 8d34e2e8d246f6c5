package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// Where somebody commits all the time, in whatever workspace, no two polls find the same state of the
// database, and a page that is open asks less often than its answer stays recent. Whether its rows are
// what they were is found out at a fraction of what the page costs: PostgreSQL keeps with each version of
// a row which transaction wrote it (the column xmin), so that rows of the same ids by the same
// transactions, in the same order, are the same rows. No row says so of itself, and none can fail to.
//
// Numbers of transactions come again after four thousand million of them, and after a crash those of
// commits that were not yet on disk. So versions are compared for an hour at most after they were last
// found, and only as long as no connection is used for the first time: none survives a crash. A row that
// was written before the numbers came round still has its own, so the place of a version in its table (the
// column ctid) belongs to it as well: the version that follows is in another one.

// versions are which rows a page is made of.
type versions struct {
	sum         uint64    // 0 where they are not known
	connections int64     // how many had been used before they were read
	at          time.Time // when that was
}

// comparableFor is how long versions can be compared with later ones.
const comparableFor = time.Hour

// comparable tells whether versions that are read now, when so many connections have been used, would tell
// anything.
func (v versions) comparable(connections int64, now time.Time) bool {
	return v.sum != 0 && v.connections == connections && elapsed(v.at, now) < comparableFor
}

// are tells whether versions that were read now, after which so many connections have been used, are
// known to be the same.
func (v versions) are(sum uint64, connections int64, now time.Time) bool {
	return v.sum == sum && v.comparable(connections, now)
}

// versionSum sums up rows that come one by one. Its zero value has none.
type versionSum struct {
	rows   int
	digest xxhash.Digest
}

// restart forgets the rows.
func (s *versionSum) restart() {
	s.rows = 0
	s.digest.Reset()
}

// add adds a row, whose last values are its versions: its own, and those of the rows that it is joined with.
func (s *versionSum) add(row rawRow, versions int) {
	s.rows++
	_, _ = s.digest.Write(row.value(columnID))
	for _, version := range row.values[len(row.values)-versions:] {
		if version == nil { // the row is joined with none
			version = noVersion
		}
		_, _ = s.digest.Write(version)
	}
}

// noVersion stands for one, so that none of the others is taken for it: no transaction has the number 0.
var noVersion = make([]byte, 4)

// sum is that of the rows so far, 0 if there are none: then there is nothing to be recognised.
func (s *versionSum) sum() uint64 {
	if s.rows == 0 {
		return 0
	}
	return s.digest.Sum64()
}

// versions are the columns of the versions of a statement's rows.
func (n narrowed) versions() []string {
	if len(n.joined) == 0 {
		return []string{"xmin", "ctid"}
	}
	columns := []string{n.joined[0] + ".xmin", n.joined[0] + ".ctid"}
	for _, table := range n.joined[1:] {
		columns = append(columns, table+".xmin AS "+table+"_xmin", table+".ctid AS "+table+"_ctid")
	}
	return columns
}

// selectAlso is a list's statement that selects columns as well, behind its own.
func selectAlso(sql string, columns []string) string {
	before, list, after := cutList(sql)
	return before + "\nSELECT " + strings.TrimSpace(list) + ", " + strings.Join(columns, ", ") + "\nFROM " + after
}

// selectingVersions is how a statement is rewritten, also to select the versions of its rows.
func selectingVersions(rewrite func(sql string) string, versions []string) func(sql string) string {
	return func(sql string) string {
		if rewrite != nil {
			sql = rewrite(sql)
		}
		return selectAlso(sql, versions)
	}
}

// answerSame answers 304 if the page that a visitor asks for again is known to be made of the same rows
// as the last time. Where rows change all the time, it is not found out in vain each time.
func (s *Server) answerSame(
	w http.ResponseWriter, r *http.Request, v *visitor, pg page, n narrowed, query func(ctx context.Context, db dbsqlc.DBTX) error,
) (bool, error) {
	poll := &requestOf(r).poll
	if !poll.last.steady || !poll.last.rows.comparable(s.polls.used.Load(), poll.at) {
		return false, nil
	}
	if err := v.narrow(r, &n, selection{}); err != nil {
		return false, err
	}
	var seen versionSum
	columns := n.versions()
	only := func(sql string) string {
		named := strings.Replace(sql, " :many", "Versions :many", 1) // for metrics and traces it is another one
		return selectOnly(named, []string{columnID, pg.instant})
	}
	err := s.reading(r, pg, func(db dbsqlc.DBTX) error {
		seen.restart()
		n.DBTX = db
		return query(r.Context(), rawRows{
			DBTX: n, rewrite: selectingVersions(only, columns), each: func(row rawRow) { seen.add(row, len(columns)) },
		})
	})
	if err != nil || !poll.last.rows.are(seen.sum(), s.polls.used.Load(), poll.at) {
		return false, err
	}
	v.found(seen.rows)
	poll.same(w)
	return true, nil
}
