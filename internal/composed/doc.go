// Package composed holds the tests of docker-compose.yml at work: load goes through its proxy while
// its servers and its database are killed. They run where RUNLEDGER_TEST_COMPOSED names an address
// at which the composition answers, as .ci/run does, and are skipped elsewhere.
package composed
