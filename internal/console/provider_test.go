package console_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/console"
	"github.com/runledger/runledger/internal/dbtest"
)

const (
	consoleClient = "runledger-console"
	consoleScope  = "openid profile"
)

// provider is an OpenID Connect provider on loopback, at which one person has an account. It knows
// the console as a public client: one without a secret, which has to show by PKCE that it began the
// sign-in whose code it brings.
type provider struct {
	t         *testing.T
	url       string
	key       *ecdsa.PrivateKey
	site      *site // where answers may go, and whose operator has the account
	refreshes bool  // whether it gives refresh tokens

	mu       sync.Mutex
	away     bool                  // whether requests for tokens are 503
	decided  string                // "agree" or "refuse" without asking the person, who has been there before; "" to ask
	asked    []url.Values          // authorization requests
	granted  map[string]url.Values // those of them that nobody has got a token for, by their codes
	redeemed []url.Values          // requests for tokens
	issued   []string              // access tokens
	audience string                // that access tokens are for, if not the service
}

// newProvidedSite is a site whose people sign in at a provider.
func newProvidedSite(t *testing.T) (*site, *provider) {
	t.Helper()
	i := &provider{t: t, granted: map[string]url.Values{}}
	var err error
	if i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /.well-known/openid-configuration", i.configuration)
	routes.HandleFunc("GET /jwks", i.keys)
	routes.HandleFunc("GET /authorize", i.authorize)
	routes.HandleFunc("POST /token", i.token)
	listening := httptest.NewServer(routes)
	t.Cleanup(listening.Close)
	// Under this name it is another site than the console's, as a provider is.
	i.url = strings.Replace(listening.URL, "127.0.0.1", "localhost", 1)

	s := newSiteFor(t, dbtest.ApplicationPool(t), dbtest.Pool(t), i.signer(),
		auth.Config{JWKSURL: i.url + "/jwks", Issuer: i.url, Audience: testAudience},
		console.Settings{Issuer: i.url, ClientID: consoleClient, Scope: consoleScope, Audience: testAudience})
	s.workspace = dbtest.NewWorkspace(t, s.pool)
	s.provider = i.url
	i.site = s
	return s, i
}

// signer signs access tokens with the provider's key.
func (i *provider) signer() *auth.Signer {
	i.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	file := filepath.Join(i.t.TempDir(), "key.pem")
	if err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		i.t.Fatal(err)
	}
	signer, err := auth.NewFileSigner(file)
	if err != nil {
		i.t.Fatal(err)
	}
	return signer
}

// identify makes an ID token: it tells the console who has signed in, and opens nothing.
func (i *provider) identify(nonce string) string {
	claims := jwt.MapClaims{
		"iss": i.url, "sub": i.site.workspace.Operator.Subject, "aud": consoleClient,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(i.key)
	if err != nil {
		i.t.Error(err)
	}
	return token
}

// answer sends JSON that pages of every origin may read.
func (i *provider) answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		i.t.Errorf("answer of the provider: %v", err)
	}
}

func (i *provider) configuration(w http.ResponseWriter, _ *http.Request) {
	i.answer(w, http.StatusOK, map[string]any{
		"issuer": i.url, "authorization_endpoint": i.url + "/authorize", "token_endpoint": i.url + "/token",
		"jwks_uri": i.url + "/jwks", "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"}, "code_challenge_methods_supported": []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (i *provider) keys(w http.ResponseWriter, _ *http.Request) {
	point, err := i.key.PublicKey.Bytes() // 4, and the two coordinates of 32 bytes
	if err != nil {
		i.t.Error(err)
		return
	}
	i.answer(w, http.StatusOK, map[string]any{"keys": []map[string]string{{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
	}}})
}

// consent is what the person sees there: to agree, to refuse, or to go back with an answer to
// a question that the console did not ask.
var consent = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Provider</title>
<link rel="icon" href="data:,"><h1>The provider</h1>
<p><a id="agree" href="{{.Agree}}">Agree</a> <a id="refuse" href="{{.Refuse}}">Refuse</a> <a id="astray" href="{{.Astray}}">Astray</a></p>`))

func (i *provider) authorize(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	back, err := url.Parse(query.Get("redirect_uri"))
	code := rand.Text()
	i.mu.Lock()
	i.asked = append(i.asked, query)
	i.granted[code] = query
	decided := i.decided
	i.mu.Unlock()
	known := strings.HasPrefix(query.Get("redirect_uri"), i.site.url+"/console/")
	if err != nil || !known || query.Get("client_id") != consoleClient {
		http.Error(w, "another client", http.StatusBadRequest)
		return
	}
	answer := func(parameters ...string) string {
		values := url.Values{"iss": {i.url}, "state": {query.Get("state")}}
		for n := 0; n < len(parameters); n += 2 {
			values.Set(parameters[n], parameters[n+1])
		}
		there := *back
		there.RawQuery = values.Encode()
		return there.String()
	}
	ways := struct{ Agree, Refuse, Astray string }{
		Agree:  answer("code", code),
		Refuse: answer("error", "access_denied", "error_description", "You may not come in."),
		Astray: answer("code", code, "state", "of-somebody-else"),
	}
	switch decided {
	case "agree":
		http.Redirect(w, r, ways.Agree, http.StatusFound)
	case "refuse":
		http.Redirect(w, r, ways.Refuse, http.StatusFound)
	default:
		err = consent.Execute(w, ways)
	}
	if err != nil {
		i.t.Errorf("page of the provider: %v", err)
	}
}

func (i *provider) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		i.answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	}
	form := r.PostForm
	i.mu.Lock()
	defer i.mu.Unlock()
	i.redeemed = append(i.redeemed, form)
	if i.away {
		i.answer(w, http.StatusServiceUnavailable, map[string]string{"error": "temporarily_unavailable"})
		return
	}
	code := form.Get("code")
	request, ok := i.granted[code]
	delete(i.granted, code) // it is good for one time
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case form.Get("grant_type") == "refresh_token" && i.refreshes && form.Get("refresh_token") == "refresh":
	case form.Get("grant_type") != "authorization_code" || !ok,
		form.Get("client_id") != consoleClient || form.Get("redirect_uri") != request.Get("redirect_uri"),
		base64.RawURLEncoding.EncodeToString(sum[:]) != request.Get("code_challenge"):
		i.answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "The code is not yours."})
		return
	}
	token := i.site.token(i.t, i.site.workspace.Operator.Subject)
	if i.audience != "" {
		var err error
		if token, err = i.site.signer.Sign(i.site.workspace.Operator.Subject, i.url, i.audience, time.Hour, time.Now()); err != nil {
			i.t.Error(err)
		}
	}
	i.issued = append(i.issued, token)
	tokens := map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": 3600,
		"id_token": i.identify(request.Get("nonce")),
	}
	if i.refreshes {
		tokens["refresh_token"] = "refresh"
	}
	i.answer(w, http.StatusOK, tokens)
}

// leave makes the provider give no tokens until it is called with false.
func (i *provider) leave(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

// decide makes the provider answer without asking the person.
func (i *provider) decide(answer string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.decided = answer
}

// last is the youngest access token, and how many there are.
func (i *provider) last() (token string, n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if n = len(i.issued); n > 0 {
		token = i.issued[n-1]
	}
	return token, n
}

// expire makes the youngest access token one whose time is over.
func (i *provider) expire() {
	token, _ := i.last()
	i.site.expire(i.t, token, i.site.workspace.Operator.Subject)
}
