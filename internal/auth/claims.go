package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxNumericDate is the last second of the year 9999, after which RFC 3339 ends
// and conversions begin to overflow.
const maxNumericDate = 253402300799

// claims are the registered claims of RFC 7519, section 4.1, that are checked. The
// library's own type would take "exp" as a string, "SUB" for "sub" and the last of
// two equal names.
type claims struct {
	issuer    string
	subject   Subject
	audience  jwt.ClaimStrings
	expiresAt *jwt.NumericDate
	notBefore *jwt.NumericDate
	issuedAt  *jwt.NumericDate
}

var _ jwt.ClaimsValidator = (*claims)(nil)

// UnmarshalJSON decodes a claims set, checking the type of each claim it knows.
func (c *claims) UnmarshalJSON(data []byte) error {
	object, err := parseObject(data)
	if err != nil {
		return fmt.Errorf("claims: %w", err)
	}
	var ok bool
	if c.issuer, ok = object["iss"].(string); !ok {
		return errors.New("claim iss is not a string")
	}
	sub, ok := object["sub"].(string)
	if !ok {
		return errors.New("claim sub is not a string")
	}
	if c.subject, err = ParseSubject(sub); err != nil {
		return fmt.Errorf("claim sub: %w", err)
	}
	if c.audience, err = parseAudience(object["aud"]); err != nil {
		return fmt.Errorf("claim aud: %w", err)
	}
	if c.expiresAt, err = parseNumericDate(object, "exp"); err != nil {
		return err
	}
	if c.notBefore, err = parseNumericDate(object, "nbf"); err != nil {
		return err
	}
	if c.issuedAt, err = parseNumericDate(object, "iat"); err != nil {
		return err
	}
	return nil
}

var errNotStrings = errors.New("neither a string nor an array of strings")

// parseAudience takes a string or an array of strings (RFC 7519, section 4.1.3).
func parseAudience(value any) (jwt.ClaimStrings, error) {
	switch value := value.(type) {
	case string:
		return jwt.ClaimStrings{value}, nil
	case []any:
		audience := make(jwt.ClaimStrings, 0, len(value))
		for _, element := range value {
			name, ok := element.(string)
			if !ok {
				return nil, errNotStrings
			}
			audience = append(audience, name)
		}
		return audience, nil
	}
	return nil, errNotStrings
}

// parseNumericDate takes a JSON number of seconds since 1970, with or without a
// fraction (RFC 7519, section 2), up to the year 9999. An absent claim is nil.
func parseNumericDate(object map[string]any, name string) (*jwt.NumericDate, error) {
	value, present := object[name]
	if !present {
		return nil, nil //nolint:nilnil // So says the library's interface.
	}
	seconds, ok := value.(float64)
	if !ok {
		return nil, fmt.Errorf("claim %s is not a number", name)
	}
	if seconds < 0 || seconds > maxNumericDate {
		return nil, fmt.Errorf("claim %s is not an instant between 1970 and 9999", name)
	}
	return &jwt.NumericDate{Time: time.Unix(int64(seconds), 0)}, nil
}

// Validate refuses claims that were never decoded: the library leaves them
// untouched where a token has the JSON value null for its claims set.
func (c *claims) Validate() error {
	if c.subject == "" {
		return errors.New("claim sub is missing")
	}
	return nil
}

// GetExpirationTime returns the "exp" claim, nil if there is none.
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.expiresAt, nil }

// GetNotBefore returns the "nbf" claim, nil if there is none.
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) { return c.notBefore, nil }

// GetIssuedAt returns the "iat" claim, nil if there is none.
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error) { return c.issuedAt, nil }

// GetAudience returns the "aud" claim.
func (c *claims) GetAudience() (jwt.ClaimStrings, error) { return c.audience, nil }

// GetIssuer returns the "iss" claim.
func (c *claims) GetIssuer() (string, error) { return c.issuer, nil }

// GetSubject returns the "sub" claim.
func (c *claims) GetSubject() (string, error) { return string(c.subject), nil }
