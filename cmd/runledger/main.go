// Command runledger is the canonical record of operation runs: its server and its tools.
package main

import (
	"context"
	"os"
)

func main() {
	// PostgreSQL's variable for the longest wait for a connection, in seconds. Without it a command waits
	// for ever where an address swallows what is sent there.
	const variable, usual = "PGCONNECT_TIMEOUT", "10"
	if _, given := os.LookupEnv(variable); !given {
		_ = os.Setenv(variable, usual)
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
