package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

const (
	keyHeader      = "Idempotency-Key"
	replayedHeader = "Idempotency-Replayed"
)

// idempotencyKey is the request's Idempotency-Key, empty if it has none.
func (p *params) idempotencyKey(r *http.Request) string {
	values := r.Header.Values(keyHeader)
	if len(values) == 0 {
		return ""
	}
	key := values[0]
	if len(values) > 1 || !isKey(key) {
		p.faults = append(p.faults, fault{Header: keyHeader, Detail: "Give it once: " + keyForm})
	}
	return key
}

const keyForm = "1 to 255 printable ASCII characters, no space at either end."

// isKey tells whether a header can have the value: a key in the body of a batch is to be one there as well.
func isKey(key string) bool {
	unprintable := strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' })
	return key != "" && len(key) <= maxName && !unprintable && strings.Trim(key, " ") == key
}

// noKey refuses an Idempotency-Key where a client that trusts in it would be deceived.
func (p *params) noKey(r *http.Request, why string) {
	if r.Header.Values(keyHeader) != nil {
		p.faults = append(p.faults, fault{Header: keyHeader, Detail: why})
	}
}

// requestHash tells two requests with one Idempotency-Key apart.
func requestHash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// startedBefore writes to results what the Idempotency-Keys of items were answered with before,
// and returns the places of those that never were.
func (s *Server) startedBefore(
	ctx context.Context, db dbsqlc.DBTX, ws workspace.Scope, items []start, results []result,
) (fresh []int, err error) {
	keyed := map[string]int{}
	for i, item := range items {
		if item.idempotencyKey != "" {
			keyed[item.idempotencyKey] = i
		}
	}
	found := map[int]bool{}
	if len(keyed) > 0 {
		rows, err := s.queries.ListRunsByIdempotencyKeys(ctx, db, dbsqlc.ListRunsByIdempotencyKeysParams{
			WorkspaceID: ws.ID(), Keys: slices.Collect(maps.Keys(keyed)),
		})
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			i := keyed[row.Key]
			found[i] = true
			results[i] = result{status: http.StatusOK, run: row.OperationRun, replayed: true}
			if row.RequestHash != items[i].requestHash {
				results[i] = result{err: errIdempotencyKeyReused}
			}
		}
	}
	for i := range items {
		if !found[i] {
			fresh = append(fresh, i)
		}
	}
	return fresh, nil
}
