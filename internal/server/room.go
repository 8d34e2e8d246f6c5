package server

import (
	"context"
	"math"
	"net/http"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// largestParts is how many bytes the rows of a batch's answer have in all. That is more than nearly any body
// brings; but one that changes next to nothing of large rows could be answered with hundreds of times its size.
const largestParts = 2 << 20

// room is where the rows of a batch's answer are kept until it is sent: what is left of largestParts, as long as
// the server has so much. None at all is room without end.
type room struct {
	place *place
	left  int
}

func roomForParts(r *http.Request) *room {
	return &room{place: &requestOf(r).place, left: largestParts}
}

// fits takes so many bytes, if they are there.
func (r *room) fits(bytes int) bool {
	switch {
	case r == nil:
		return true
	case bytes > r.left:
		return false
	}
	if r.place.hold(bytes) != nil {
		r.left = 0
		return false
	}
	r.left -= bytes
	return true
}

// faults are as many of the faults of a part as there is room for, and the first in any case: a body of names that
// mean nothing has a hundred times as many bytes of them.
func (r *room) faults(all []fault) []fault {
	for i := range all {
		const about = 128 // bytes that one has beside its texts, in memory and in the answer
		if !r.fits(about+len(all[i].Pointer)+len(all[i].Detail)) && i > 0 {
			return slices.Clone(all[:i])
		}
	}
	return all
}

// sparing is db for statements whose rows are to be shown where there is room for them.
func (r *room) sparing(db dbsqlc.DBTX) *sparing {
	if r == nil {
		return sparingNothing(db)
	}
	return &sparing{DBTX: db, left: r.left}
}

func sparingNothing(db dbsqlc.DBTX) *sparing { return &sparing{DBTX: db, left: math.MaxInt} }

// sparing is a database that lets go of the JSON of a run as soon as it has come, if there is no room for it: five
// hundred runs may have a hundred megabytes (a dbsqlc.DBTX). Nobody but the answer is to read what it may spare.
type sparing struct {
	dbsqlc.DBTX
	left int // bytes of JSON
}

// Query runs a statement and spares its rows.
func (d *sparing) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := d.DBTX.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return sparedRows{rows, d}, nil
}

// sparedRows are rows of which each is spared when it is scanned.
type sparedRows struct {
	pgx.Rows
	by *sparing
}

// Scan reads a row and lets go of its JSON if there is no room for it.
func (r sparedRows) Scan(dest ...any) error {
	if err := r.Rows.Scan(dest...); err != nil {
		return err
	}
	var documents []*[]byte
	for _, d := range dest {
		if document, ok := d.(*[]byte); ok {
			documents = append(documents, document)
		}
	}
	r.by.spare(documents...)
	return nil
}

// spare lets go of the documents of a row if there is no room for all of them.
func (d *sparing) spare(documents ...*[]byte) {
	size := 0
	for _, document := range documents {
		size += len(*document)
	}
	if size <= d.left {
		d.left -= size
		return
	}
	for _, document := range documents {
		*document = []byte{} // which no JSON is
	}
}

// isSpared tells whether the JSON of a run has been let go of.
func isSpared(run *dbsqlc.OperationRun) bool { return run.Context != nil && len(run.Context) == 0 }
