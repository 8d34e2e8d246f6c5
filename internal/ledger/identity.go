package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/gowebpki/jcs"
)

// IdentityHash is the run_identity_hash of a piece of work: the SHA-256, in hexadecimal digits, of
// the canonical form (RFC 8785) of
//
//	{"identity": <identity>, "tenant_id": "<id>" or null, "type": "<type>", "workspace_id": "<id>"}
//
// The ids are strings because RFC 8785 numbers are IEEE 754 doubles, which do not hold every id.
// A worker in any language can compute the same. It fails if identity is not JSON that RFC 8785
// can make canonical: a lone surrogate or a number beyond a double.
func IdentityHash(workspaceID int64, tenantID *int64, runType string, identity json.RawMessage) (string, error) {
	var tenant *string
	if tenantID != nil {
		id := strconv.FormatInt(*tenantID, 10)
		tenant = &id
	}
	work, err := json.Marshal(struct {
		Identity  json.RawMessage `json:"identity"`
		TenantID  *string         `json:"tenant_id"`
		Type      string          `json:"type"`
		Workspace string          `json:"workspace_id"`
	}{identity, tenant, runType, strconv.FormatInt(workspaceID, 10)})
	if err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	canonical, err := jcs.Transform(work)
	if err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}
