package server

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// position is where a page ends: the value of its order, in microseconds since 1970 as PostgreSQL
// counts them, and the id that breaks ties. A list in the order of its ids has the id alone.
type position struct {
	at int64
	id int64
}

// The positions before and after all others.
var (
	beforeAll = position{at: math.MinInt64, id: 0}
	afterAll  = position{at: math.MaxInt64, id: math.MaxInt64}
)

// positionAt is the position of a row. One without an instant stands before all that have one.
func positionAt(at pgtype.Timestamptz, id int64) position {
	switch {
	case !at.Valid, at.InfinityModifier == pgtype.NegativeInfinity:
		return position{at: math.MinInt64, id: id}
	case at.InfinityModifier == pgtype.Infinity:
		return position{at: math.MaxInt64, id: id}
	default:
		return position{at: at.Time.UnixMicro(), id: id}
	}
}

// compare is negative where p stands before q in a list that ascends.
func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.at, q.at), cmp.Compare(p.id, q.id))
}

// timestamptz is the instant of the position as a parameter of a statement.
func (p position) timestamptz() pgtype.Timestamptz {
	switch p.at {
	case math.MinInt64:
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	case math.MaxInt64:
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	default:
		return pgtype.Timestamptz{Time: time.UnixMicro(p.at).UTC(), Valid: true}
	}
}

// cursorKeeper seals positions into cursors and opens them again. All servers of one database
// share its key.
type cursorKeeper struct {
	key atomic.Pointer[[]byte]
}

// load fetches the key, making it if no server has yet.
func (c *cursorKeeper) load(ctx context.Context, db dbsqlc.DBTX, queries *dbsqlc.Queries) error {
	if c.key.Load() != nil {
		return nil
	}
	const name = "cursor"
	key, err := queries.GetServerKey(ctx, db, name)
	if errors.Is(err, pgx.ErrNoRows) {
		fresh := make([]byte, sha256.Size)
		_, _ = rand.Read(fresh) // never fails
		if err := queries.PutServerKey(ctx, db, dbsqlc.PutServerKeyParams{Name: name, Key: fresh}); err != nil {
			return err
		}
		key, err = queries.GetServerKey(ctx, db, name) // another server may have been first
	}
	if err != nil {
		return err
	}
	c.key.Store(&key)
	return nil
}

const (
	cursorPositionSize = 16
	cursorTagSize      = 16 // of HMAC-SHA-256, truncated as RFC 2104 section 5 allows
)

// cursorEncoding refuses stray bits, so that no two texts are the same cursor.
var cursorEncoding = base64.RawURLEncoding.Strict()

// seal makes the cursor of a position. It opens only with the same binding: the workspace, the
// route, the filters and the order of the list that it came from.
func (c *cursorKeeper) seal(p position, binding string) string {
	sealed := make([]byte, cursorPositionSize, cursorPositionSize+cursorTagSize)
	binary.BigEndian.PutUint64(sealed, uint64(p.at))     //nolint:gosec // bits are bits
	binary.BigEndian.PutUint64(sealed[8:], uint64(p.id)) //nolint:gosec // bits are bits
	sealed = append(sealed, c.tag(sealed, binding)...)
	return cursorEncoding.EncodeToString(sealed)
}

// open reads a cursor; ok is false for one that was altered or came from another list.
func (c *cursorKeeper) open(cursor, binding string) (p position, ok bool) {
	// The decoder skips line breaks; the length rules them out.
	if len(cursor) != cursorEncoding.EncodedLen(cursorPositionSize+cursorTagSize) {
		return position{}, false
	}
	sealed, err := cursorEncoding.DecodeString(cursor)
	if err != nil {
		return position{}, false
	}
	plain, tag := sealed[:cursorPositionSize], sealed[cursorPositionSize:]
	if !hmac.Equal(tag, c.tag(plain, binding)) {
		return position{}, false
	}
	return position{
		at: int64(binary.BigEndian.Uint64(plain)),     //nolint:gosec // bits are bits
		id: int64(binary.BigEndian.Uint64(plain[8:])), //nolint:gosec // bits are bits
	}, true
}

func (c *cursorKeeper) tag(plain []byte, binding string) []byte {
	mac := hmac.New(sha256.New, *c.key.Load())
	mac.Write(plain)
	mac.Write([]byte(binding))
	return mac.Sum(nil)[:cursorTagSize]
}
