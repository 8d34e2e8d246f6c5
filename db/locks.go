package db

import "github.com/pressly/goose/v3/lock"

// The keys of the advisory locks that are taken in a database, but for that of the tests. Two of one
// number would keep strangers waiting for each other.
const (
	SweepLock     int64 = 7_205_759_403_792_793_601 // of the server that sweeps
	RetentionLock int64 = 7_205_759_403_792_793_602 // of the server that lets runs go
	SeedLock      int64 = 7_205_759_403_792_793_612 // of whoever seeds
	DemoLock      int64 = 0x72756e6c64656d6f        // of whoever writes the demonstration: "runldemo"
	RemovalLock   int64 = 0x72756e6c6567676f        // of the removal of legacy stores: "runleggo"
)

// It does not compile with one key twice. Migrations are locked by goose.
var _ = map[int64]struct{}{SweepLock: {}, RetentionLock: {}, SeedLock: {}, DemoLock: {}, RemovalLock: {}, lock.DefaultLockID: {}}
