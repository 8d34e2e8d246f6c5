package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// encodeRow appends a row as JSON, of the bytes that PostgreSQL sent for its columns.
type encodeRow func(b []byte, columns [][]byte) []byte

// encoder finds out where in a query's result the columns of the list are, and of which type.
func (l list) encoder(ctx context.Context, pool *pgxpool.Pool, q query) (encodeRow, error) {
	rows, err := pool.Query(ctx, q.sql, q.args...)
	if err != nil {
		return nil, err
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, err
	}
	place, oid := map[string]int{}, map[string]uint32{}
	for i, d := range rows.FieldDescriptions() {
		if _, known := place[d.Name]; !known { // of an embedded table's columns and the joined, the former come first
			place[d.Name], oid[d.Name] = i, d.DataTypeOID
		}
	}
	return rowEncoder(l.members, place, oid)
}

// rowEncoder encodes an object with the members.
func rowEncoder(members []member, place map[string]int, oid map[string]uint32) (encodeRow, error) {
	type step struct {
		text   string // what stands before the value
		column int
		append func(b, v []byte) []byte
		object encodeRow // instead of a value, if the column is not null
		second int       // the column that must not be null either
	}
	steps := make([]step, 0, len(members))
	for i, m := range members {
		column, ok := place[m.column]
		if !ok {
			return nil, fmt.Errorf("the query has no column %s", m.column)
		}
		s := step{text: `,"` + m.name + `":`, column: column}
		if i == 0 {
			s.text = `{"` + m.name + `":`
		}
		switch appendValue, known := appenders[oid[m.column]]; {
		case m.object != nil:
			object, err := rowEncoder(m.object, place, oid)
			if err != nil {
				return nil, err
			}
			s.object, s.second = object, place[m.object[1].column]
		case !known:
			return nil, fmt.Errorf("the column %s has type %d, which is not known here", m.column, oid[m.column])
		default:
			s.append = appendValue
		}
		steps = append(steps, s)
	}
	return func(b []byte, columns [][]byte) []byte {
		for i := range steps {
			s := &steps[i]
			b = append(b, s.text...)
			v := columns[s.column]
			switch {
			case v == nil || s.object != nil && columns[s.second] == nil:
				b = append(b, "null"...)
			case s.object != nil:
				b = s.object(b, columns)
			default:
				b = s.append(b, v)
			}
		}
		return append(b, '}')
	}, nil
}

// appenders append a value of a type from the format that pgx asks for: text for jsonb,
// PostgreSQL's binary format for the others.
var appenders = map[uint32]func(b, v []byte) []byte{
	pgtype.Int8OID:        func(b, v []byte) []byte { return strconv.AppendInt(b, rawInt(v), 10) },
	pgtype.BoolOID:        func(b, v []byte) []byte { return strconv.AppendBool(b, v[0] != 0) },
	pgtype.TextOID:        appendRawText,
	pgtype.JSONBOID:       func(b, v []byte) []byte { return append(b, v...) }, // pgx asks for it as text
	pgtype.TimestamptzOID: func(b, v []byte) []byte { return appendRawTime(b, rawInt(v)) },
}

func rawInt(v []byte) int64 { return int64(binary.BigEndian.Uint64(v)) }

// appendRawText appends a JSON string; nearly none needs an escape.
func appendRawText(b, v []byte) []byte {
	for _, c := range v {
		if c < ' ' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(string(v))
			if err != nil {
				panic(fmt.Errorf("a string is JSON: %w", err))
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), v...), '"')
}

// appendRawTime appends an instant, given in microseconds since 2000, as RFC 3339 in UTC without
// zeros at the end of the fraction.
func appendRawTime(b []byte, micros int64) []byte {
	const sinceUnix = 946_684_800_000_000
	at := time.UnixMicro(micros + sinceUnix).UTC()
	year, month, day := at.Date()
	hour, minute, second := at.Clock()
	b = append(b, '"')
	b = appendDigits(b, year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	if fraction := at.Nanosecond() / 1000; fraction != 0 {
		b = appendDigits(append(b, '.'), fraction, 6)
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return append(b, 'Z', '"')
}

// appendDigits appends n with as many digits as told.
func appendDigits(b []byte, n, digits int) []byte {
	b = append(b, "000000"[:digits]...)
	for i := len(b) - 1; n > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}
