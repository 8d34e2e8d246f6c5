// Package faults holds tests alone. They break connections, PostgreSQL and the server while clients
// write, and hold what the clients were told against what may be true (linearizability, checked
// with porcupine).
//
// The environment sets their size: RUNLEDGER_TEST_OPERATIONS is how many starts and ends the
// history has, RUNLEDGER_TEST_KILLS how often the server is killed while it writes,
// RUNLEDGER_TEST_TERMINATIONS how often it is told to end, and RUNLEDGER_TEST_OUTAGE_MS for how many
// milliseconds the database is out of reach. RUNLEDGER_TEST_FIGURES=1 holds the server to how soon
// it has to notice an outage and to get over it, too.
package faults
