package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
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
// can make canonical: a lone surrogate, a member that comes twice, or a number that is beyond a
// double. A whole number that a double would round to another one is refused as well, because two
// pieces of work that differ in it alone would pass for one: it belongs into a string.
func IdentityHash(workspaceID int64, tenantID *int64, runType string, identity json.RawMessage) (string, error) {
	if number := roundedInteger(identity); number != "" {
		return "", fmt.Errorf("identity: a double does not hold %s", number)
	}
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

// integers are the texts, which are passed over, and the numbers of a JSON document.
var integers = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*`)

// roundedInteger is the first whole number of the document that a double does not hold exactly.
func roundedInteger(document json.RawMessage) string {
	const always = 15 // so many digits fit, whatever they are
	for _, token := range integers.FindAll(document, -1) {
		if len(token) <= always || token[0] == '"' || bytes.ContainsAny(token, ".eE") {
			continue
		}
		exact, ok := new(big.Int).SetString(string(token), 10)
		if !ok {
			continue
		}
		if _, accuracy := new(big.Float).SetInt(exact).Float64(); accuracy != big.Exact {
			return string(token)
		}
	}
	return ""
}
