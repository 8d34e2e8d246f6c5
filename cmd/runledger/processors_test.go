package main

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestADatabaseIsHereIfAllItsHostsAre(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"postgres://u@localhost/d":                   true,
		"postgres://u@127.0.0.1:6000/d":              true,
		"postgres://u@[::1]/d":                       true,
		"postgres://u@/d?host=/var/run/postgresql":   true,
		"host=@abstract user=u":                      true,
		"postgres://u@localhost:5432,127.0.0.1:1/d":  true,
		"postgres://u@db.example.com/d":              false,
		"postgres://u@10.0.0.7/d":                    false,
		"postgres://u@localhost.example.com/d":       false,
		"postgres://u@localhost,db.example.com/d":    false,
		"postgres://u@db.example.com,localhost:99/d": false,
	} {
		config, err := pgx.ParseConfig(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := isHere(config); got != want {
			t.Errorf("%s: %t, want %t", address, got, want)
		}
	}
}

func TestAServerLeavesHalfOfTheProcessorsToADatabaseOnItsMachine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		environ string
		want    int
	}{
		{"RUNLEDGER_LOG_LEVEL=info", (runtime.NumCPU() + 1) / 2},
		{"GOMAXPROCS=3", 3},
	} {
		p := startServe(t, tt.environ)
		if serving, want := p.log.Text(), fmt.Sprintf(`"processors":%d`, tt.want); !strings.Contains(serving, want) {
			t.Errorf("with %s it is not %s: %s", tt.environ, want, serving)
		}
	}
}
