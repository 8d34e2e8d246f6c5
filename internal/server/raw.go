package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// Rows that are only shown go from PostgreSQL's wire into the answer without becoming structs in
// between, which took as much time as everything else together.

// rawRows is a database that hands over the rows of a statement as they come (a dbsqlc.DBTX). The
// statement and its arguments are sqlc's; sqlc's code gets no rows of it.
type rawRows struct {
	dbsqlc.DBTX
	show members
	each func(row rawRow)
	// rewrite is how the statement is changed before it is run; nil leaves it as it is.
	rewrite func(sql string) string
}

// Query runs the statement and hands over all of its rows.
func (d rawRows) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return noRows{}, d.run(ctx, sql, args, d.each)
}

// QueryRow runs the statement and hands over its row.
func (d rawRows) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	found := false
	err := d.run(ctx, sql, args, func(row rawRow) {
		found = true
		d.each(row)
	})
	if err == nil && !found {
		err = pgx.ErrNoRows
	}
	return seenRow{err}
}

func (d rawRows) run(ctx context.Context, sql string, args []any, each func(row rawRow)) error {
	if d.rewrite != nil {
		sql = d.rewrite(sql)
	}
	rows, err := d.DBTX.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var row rawRow
	for rows.Next() {
		if row.fields == nil {
			row.fields = rows.FieldDescriptions()
			if row.columns, err = d.show.among(row.fields); err != nil {
				return err
			}
		}
		row.values = rows.RawValues()
		each(row)
	}
	return rows.Err()
}

// noRows are the rows that are left to whom they were not handed over.
type noRows struct{ pgx.Rows }

// Next returns false.
func (noRows) Next() bool { return false }

// Err returns nil.
func (noRows) Err() error { return nil }

// Close does nothing.
func (noRows) Close() {}

// seenRow is a row that was handed over already, or could not be.
type seenRow struct{ err error }

// Scan leaves dest as it is and returns why there was no row, if there was none.
func (r seenRow) Scan(...any) error { return r.err }

// rawRow is a row as it came. It holds until the next one comes.
type rawRow struct {
	fields  []pgconn.FieldDescription
	columns []column
	values  [][]byte
}

// append appends the row as the interface shows it.
func (r rawRow) append(b []byte) []byte { return appendColumns(b, r.columns, r.values) }

// position is the position of the row in a list that is ordered by the instant that is named, or
// by the ids alone if none is.
func (r rawRow) position(instant string) position {
	at := int64(math.MinInt64) // a row without an instant stands before all that have one
	if instant != "" {
		if v := r.value(instant); v != nil {
			at = micros(v)
		}
	}
	return position{at: at, id: r.int(columnID)}
}

// int is the value of a bigint column that is not null.
func (r rawRow) int(name string) int64 { return int64At(r.value(name)) }

func (r rawRow) value(name string) []byte {
	for i := range r.fields {
		if r.fields[i].Name == name {
			return r.values[i]
		}
	}
	panic("server: the statement has no column " + name)
}

// column is a member of an answer with where its value is among those of a row.
type column struct {
	key    string // the member's name in quotes, with its colon
	index  int
	append func(b, v []byte) []byte
	object []column // of which the value is made, if it is an object: it is null where the column is
	// implied is what stands for null in a row that has a value at since.
	implied string
	since   int
}

// appendColumns appends the object that columns make of values.
func appendColumns(b []byte, columns []column, values [][]byte) []byte {
	b = append(b, '{')
	for i := range columns {
		c := &columns[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, c.key...)
		v := values[c.index]
		switch {
		case v != nil && c.object != nil:
			b = appendColumns(b, c.object, values)
		case v != nil:
			b = c.append(b, v)
		case c.implied != "" && values[c.since] != nil:
			b = appendQuoted(b, c.implied)
		default:
			b = append(b, "null"...)
		}
	}
	return append(b, '}')
}

// kindsOfColumns are the types of columns by their OIDs, each with how to append a value that is
// not null and came in binary.
var kindsOfColumns = map[uint32]func(b, v []byte) []byte{
	pgtype.Int8OID:        func(b, v []byte) []byte { return strconv.AppendInt(b, int64At(v), 10) },
	pgtype.Int4OID:        func(b, v []byte) []byte { return strconv.AppendInt(b, int64(int32(binary.BigEndian.Uint32(v))), 10) },
	pgtype.BoolOID:        func(b, v []byte) []byte { return strconv.AppendBool(b, v[0] != 0) },
	pgtype.TextOID:        appendQuotedBytes,
	pgtype.TimestamptzOID: func(b, v []byte) []byte { return appendInstant(b, micros(v)) },
	pgtype.TimeOID:        func(b, v []byte) []byte { return appendTimeOfDay(b, int64At(v)) },
	pgtype.JSONBOID:       func(b, v []byte) []byte { return append(b, v[1:]...) }, // behind the version of the format
}

// appender is how to append the values of a column.
func appender(field *pgconn.FieldDescription) (func(b, v []byte) []byte, error) {
	switch {
	case field.Format == pgx.BinaryFormatCode:
		if kind := kindsOfColumns[field.DataTypeOID]; kind != nil {
			return kind, nil
		}
	case field.DataTypeOID == pgtype.TextOID:
		return appendQuotedBytes, nil
	case field.DataTypeOID == pgtype.JSONBOID:
		return func(b, v []byte) []byte { return append(b, v...) }, nil
	}
	return nil, fmt.Errorf("column %s has the type %d in format %d, which no answer can show", field.Name, field.DataTypeOID, field.Format)
}

// int64At is the bigint, or the time in microseconds, that v is in binary.
func int64At(v []byte) int64 {
	return int64(binary.BigEndian.Uint64(v)) //nolint:gosec // bits are bits
}

// micros is a timestamptz in microseconds since 1970; the infinite ones are the least and the
// greatest number.
func micros(v []byte) int64 {
	const epoch = 946_684_800_000_000 // PostgreSQL counts from 2000
	at := int64At(v)
	if at == math.MinInt64 || at == math.MaxInt64 {
		return at
	}
	return at + epoch
}
