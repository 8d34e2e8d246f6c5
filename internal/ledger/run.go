// Package ledger says what the words of the record mean: the states of a run, the types that a backup
// schedule's history is made of, what makes two runs the same work, what is redacted, and how two runs
// differ. It does no I/O.
package ledger

// Status is where a run is.
type Status string

// The three statuses. A run is active while it is queued or running.
const (
	StatusQueued    Status = "queued"
	StatusRunning   Status = "running"
	StatusCompleted Status = "completed"
)

// Statuses lists every status in the order a run goes through them.
var Statuses = []Status{StatusQueued, StatusRunning, StatusCompleted}

// Outcome is how a run ended.
type Outcome string

// The outcomes. A run's outcome is pending until the run is completed and never after.
const (
	OutcomePending            Outcome = "pending"
	OutcomeSucceeded          Outcome = "succeeded"
	OutcomePartiallySucceeded Outcome = "partially_succeeded"
	OutcomeFailed             Outcome = "failed"
	OutcomeBlocked            Outcome = "blocked"
	OutcomeCancelled          Outcome = "cancelled"
)

// Outcomes lists every outcome, the one of an active run first.
var Outcomes = []Outcome{
	OutcomePending, OutcomeSucceeded, OutcomePartiallySucceeded, OutcomeFailed, OutcomeBlocked, OutcomeCancelled,
}

// Active tells whether a run with that status is still to end.
func (s Status) Active() bool { return s == StatusQueued || s == StatusRunning }

// Stalled is in which way a run is stalled.
type Stalled string

// A run is silent, or it sends heartbeats while its counts do not move. Only silence is a reason
// to complete a run as failed, with the failure code CodeRunStalled.
const (
	StalledNoHeartbeat Stalled = "no_heartbeat"
	StalledNoProgress  Stalled = "no_progress"
)

// Service is who does, in events, versions and the audit, what the service does by itself.
const Service = "runledger"

// ScheduleTypes are the types that a backup schedule's history is made of.
var ScheduleTypes = []string{"backup_schedule_run", "backup_schedule_retention", "backup_schedule_purge"}

// CodeRunStalled is the failure code of the verdict on a run that stayed silent.
const CodeRunStalled = "run_stalled"
