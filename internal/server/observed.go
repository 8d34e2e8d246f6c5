package server

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// What runs observe, findings and inventory items, comes in batches: an array of objects in a
// body, each of which is written by its natural key and answered by itself.

// observation is one object of such a batch.
type observation[Item any] struct {
	item   Item
	faults []fault
}

// observed is the answer to one object: the row as it is now, or why not.
type observed struct {
	status int
	row    []byte // as the interface shows it; nil where there was no room for it
	id     int64
	err    error
}

// observedRows is a database that puts the rows of a statement where they belong among results,
// as the column place says, as far as there is room for them.
func observedRows(db dbsqlc.DBTX, show members, results []observed, room *room) rawRows {
	var b []byte
	return rawRows{DBTX: db, show: show, each: func(row rawRow) {
		result := observed{status: http.StatusOK, id: row.int(columnID)}
		if b = row.append(b[:0]); room.fits(len(b)) {
			result.row = bytes.Clone(b)
		}
		results[row.int("place")] = result
	}}
}

// parseObservations reads the array in member name of a body. What is wrong with one object is
// its own answer, and no fault of f; one that has flaws is not read.
func parseObservations[Item any](
	f *fields, name string, flaws map[int][]fault, room *room, parse func(f *fields) Item,
) []observation[Item] {
	raw := f.array(name)
	observations := make([]observation[Item], len(raw))
	for i, object := range raw {
		if flaws[i] != nil {
			observations[i].faults = room.faults(flaws[i])
			continue
		}
		inner := parseFields(object, fmt.Sprintf("%s/%s/%d", f.pointer, name, i))
		observations[i].item = parse(inner)
		observations[i].faults = room.faults(inner.faultless())
	}
	return observations
}

// withObservations are the faults of a body and those of its observations, of which none is written.
func withObservations[Item any](faults []fault, observations []observation[Item]) []fault {
	for _, o := range observations {
		faults = append(faults, o.faults...)
	}
	return faults[:min(len(faults), maxFaults)]
}

// observe writes observations in their order and returns an answer for each. write takes items no
// two of which have one key; what it returns has their length.
func observe[Item any, Key comparable](
	ctx context.Context, observations []observation[Item], key func(Item) Key,
	write func(ctx context.Context, items []Item) ([]observed, error),
) []observed {
	results := make([]observed, len(observations))
	pending := make([]int, 0, len(observations))
	for i := range observations {
		if faults := observations[i].faults; len(faults) > 0 {
			results[i].err = errInvalidFields(faults...)
		} else {
			pending = append(pending, i)
		}
	}
	var outage error
	held := map[Key]error{} // why it could not be written
	for len(pending) > 0 {
		// What has a key that came before waits for the next round, so that the last one wins.
		var round, later []int
		taken := map[Key]bool{}
		for _, i := range pending {
			k := key(observations[i].item)
			if taken[k] {
				later = append(later, i)
				continue
			}
			taken[k] = true
			round = append(round, i)
		}
		items := make([]Item, len(round))
		for n, i := range round {
			items[n] = observations[i].item
		}
		done := together(items, func(items []Item) ([]observed, error) { return write(ctx, items) }, failedObservation)
		for n, i := range round {
			results[i] = done[n]
			switch err := done[n].err; {
			case isLocked(err):
				held[key(observations[i].item)] = err
			case isOutage(err): // each round behind it would wait as long again
				outage = err
			}
		}
		pending = pending[:0]
		for _, i := range later {
			if why := cmp.Or(outage, held[key(observations[i].item)]); why != nil {
				results[i].err = errUnavailable.because(why)
			} else {
				pending = append(pending, i)
			}
		}
	}
	return results
}

// answerObserved writes the answers of a batch, each with its row under name.
func (s *Server) answerObserved(w http.ResponseWriter, r *http.Request, name string, results []observed) error {
	return s.answerParts(w, r, name, len(results), func(i int) part {
		result := &results[i]
		p := part{status: result.status, id: result.id, err: result.err}
		if result.row != nil {
			p.row = func(b []byte) []byte { return append(b, result.row...) }
		}
		return p
	})
}

// failedObservation is the answer to an object that could not be written.
func failedObservation(err error) observed {
	if hasClass(err, "23") {
		// However often it is asked, what it refers to is there before the write and not in it.
		err = errInvalidFields(fault{Detail: "A row that it refers to was removed at the same moment."}).because(err)
	}
	return observed{err: err}
}
