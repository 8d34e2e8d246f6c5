package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxTokenBytes is the length of the longest token that is looked at.
	maxTokenBytes = 8 << 10

	// leeway is how far the clocks of issuer and server may differ.
	leeway = 30 * time.Second
)

// A Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	parser     *jwt.Parser
	algorithms []string
	findKey    keyFinder
	known      *knownTokens
	looked     func(known bool)
	keysInUse  func() *keySet // nil if the key never changes
}

// A keyFinder returns the key that a token with this header has to be signed with:
// an error that wraps [ErrInvalidToken] if there is none, another one if that
// could not be found out. With the key comes the set that it is of, nil for one
// that never changes.
type keyFinder func(ctx context.Context, h header) (any, *keySet, error)

// NewVerifier returns a Verifier for a configuration, or what [Config.Validate]
// says about it. With a JWKS it starts a goroutine that fetches the keys and keeps
// them fresh until ctx is done; that their source does not answer is not an error
// but logged, and passes by itself.
func NewVerifier(ctx context.Context, c Config, log *slog.Logger) (*Verifier, error) {
	t, err := c.load()
	if err != nil {
		return nil, err
	}
	v := &Verifier{
		algorithms: t.algorithms,
		looked:     c.Looked,
		findKey:    func(context.Context, header) (any, *keySet, error) { return t.key, nil, nil },
	}
	keysInUse := func() *keySet { return nil }
	if c.JWKSURL != "" {
		source := newJWKS(t.algorithms, fetchJWKS(c.JWKSURL, log), log)
		go source.run(ctx)
		keysInUse = source.keys.Load
		v.findKey, v.keysInUse = source.find, keysInUse
	}
	timely := []jwt.ParserOption{
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway),
	}
	v.known = newKnownTokens(jwt.NewValidator(timely...), keysInUse)
	v.parser = jwt.NewParser(append(timely,
		jwt.WithValidMethods(t.algorithms),
		jwt.WithStrictDecoding(),
		jwt.WithIssuer(c.Issuer),
		jwt.WithAudience(c.Audience),
	)...)
	return v, nil
}

// Verify returns the subject of a token in the compact serialization, if the token
// is good now. Otherwise its error wraps [ErrInvalidToken], [ErrKeysUnavailable] or
// [ErrTooManyWait], or that of ctx, which matters only while a JWKS is being fetched, for at most
// five seconds. No error contains the token or a part of it.
func (v *Verifier) Verify(ctx context.Context, token string) (Subject, error) {
	if err := checkForm(token); err != nil {
		return "", invalid(err)
	}
	sum := sumOf(token)
	subject, known := v.known.subject(sum)
	if v.looked != nil {
		v.looked(known)
	}
	if known {
		return subject, nil
	}
	c, keys, err := v.verify(ctx, token)
	if err != nil {
		return "", err
	}
	v.known.remember(sum, c, keys)
	return c.subject, nil
}

// HaveKeys returns [ErrKeysUnavailable] until there is a key to verify tokens with. It
// fetches nothing. Keys that have been loaded once stay good.
func (v *Verifier) HaveKeys() error {
	if v.keysInUse != nil && v.keysInUse() == nil {
		return ErrKeysUnavailable
	}
	return nil
}

// KeysLoaded is when the keys of the JWKS were last loaded: the zero Time if they never were, or if there is none.
func (v *Verifier) KeysLoaded() time.Time {
	if v.keysInUse == nil {
		return time.Time{}
	}
	keys := v.keysInUse()
	if keys == nil {
		return time.Time{}
	}
	return keys.loaded
}

// verify checks a token whose form is good, and returns its claims and the set of the
// key that it is signed with.
func (v *Verifier) verify(ctx context.Context, token string) (*claims, *keySet, error) {
	first, _, _ := strings.Cut(token, ".")
	h, err := parseHeader(first)
	if err != nil {
		return nil, nil, invalid(err)
	}
	if !slices.Contains(v.algorithms, h.alg) {
		return nil, nil, invalid(errors.New("header: alg is not one of those accepted"))
	}
	key, keys, err := v.findKey(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	var c claims
	if _, err := v.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
		return nil, nil, invalid(err)
	}
	return &c, keys, nil
}

// checkForm admits exactly three non-empty parts of base64url characters, before
// anything is decoded. The decoder that comes later would skip line breaks.
func checkForm(token string) error {
	if len(token) > maxTokenBytes {
		return fmt.Errorf("longer than %d bytes", maxTokenBytes)
	}
	var dots, part int
	for i := range len(token) {
		switch b := token[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '_':
			part++
		case b == '.' && part > 0 && dots < 2:
			dots, part = dots+1, 0
		default:
			return errMalformed
		}
	}
	if dots != 2 || part == 0 {
		return errMalformed
	}
	return nil
}

var errMalformed = errors.New("not three parts of base64url")

// invalid says that a token is not good and, for the log, why.
func invalid(cause error) error {
	return fmt.Errorf("%w: %w", ErrInvalidToken, cause)
}
