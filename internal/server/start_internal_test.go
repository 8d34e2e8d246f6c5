package server

import (
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// A column that is added to the runs is to be in the answer to a start, too.
func TestAStartedRunHasEveryColumn(t *testing.T) {
	t.Parallel()
	samples := map[reflect.Type]any{}
	for _, sample := range []any{
		int64(7), int32(7), "x", true, []byte("{}"), new(int64(7)), new("x"), pgtype.Timestamptz{Time: time.Unix(7, 0), Valid: true},
	} {
		samples[reflect.TypeOf(sample)] = sample
	}
	var row dbsqlc.StartRunsRow
	for field, value := range reflect.ValueOf(&row).Elem().Fields() {
		sample, ok := samples[field.Type]
		if !ok {
			t.Fatalf("%s is a %s, of which there is no sample", field.Name, field.Type)
		}
		value.Set(reflect.ValueOf(sample))
	}
	for field, value := range reflect.ValueOf(startedRun(&row)).Fields() {
		if value.IsZero() {
			t.Errorf("%s is not taken over", field.Name)
		}
	}
}
