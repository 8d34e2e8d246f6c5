package faults

import (
	"encoding/json"
	"testing"

	"github.com/runledger/runledger/internal/ledger"
)

// identityHash is the run_identity_hash of an identity.
func identityHash(t *testing.T, workspaceID int64, identity string) string {
	t.Helper()
	text, err := json.Marshal(identity)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := ledger.IdentityHash(workspaceID, nil, "inventory_sync", text)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}
