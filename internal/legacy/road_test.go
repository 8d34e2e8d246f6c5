package legacy

import (
	"testing"
)

func TestWholeRoad(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	report := throughBackfill(t, address)
	for _, task := range report.Tasks {
		t.Logf("%+v", *task)
	}
	r := open(t, address, Options{})
	v := must(t, r.Verify)
	for _, d := range v.Differences {
		t.Error(d)
	}
	t.Logf("%+v", v)
	c := must(t, r.Contract)
	t.Logf("%+v", c)
	v = must(t, r.Verify)
	for _, d := range v.Differences {
		t.Error(d)
	}
	t.Logf("%+v", v)
}
