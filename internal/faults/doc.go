// Package faults holds tests alone. They break connections, PostgreSQL and the server while clients
// write, and hold what the clients were told against what may be true (linearizability, checked
// with porcupine).
//
// The environment sets their size: RUNLEDGER_TEST_OPERATIONS is how many starts and ends the
// history has, RUNLEDGER_TEST_KILLS how often the server is killed while it writes.
package faults
