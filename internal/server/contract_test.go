package server_test

import (
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/api"
	"github.com/runledger/runledger/internal/server"
)

// contractOperation is what the tests read of an operation.
type contractOperation struct {
	OperationID string         `yaml:"operationId"`
	Responses   map[string]any `yaml:"responses"`
}

// contractOperations are the operations of api/openapi.yaml by method and path.
func contractOperations(t *testing.T) map[string]contractOperation {
	t.Helper()
	var document struct {
		Paths map[string]map[string]yaml.Node `yaml:"paths"`
	}
	if err := yaml.Unmarshal(api.YAML(), &document); err != nil {
		t.Fatal(err)
	}
	operations := map[string]contractOperation{}
	for path, item := range document.Paths {
		for member, node := range item {
			if member == "parameters" {
				continue
			}
			var operation contractOperation
			if err := node.Decode(&operation); err != nil {
				t.Fatal(err)
			}
			operations[strings.ToUpper(member)+" "+path] = operation
		}
	}
	return operations
}

// routes are the routes of the server by method and path.
func routes(t *testing.T) []string {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/nothing") // connects when used
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s := server.New(server.Options{Pool: pool, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(s.Close)
	var found []string
	err = chi.Walk(s.Routes(), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		// The console's pages are for people in browsers, at addresses of any depth, which OpenAPI
		// has no words for. They are no part of the interface: internal/console tests them.
		if route == "/console" || strings.HasPrefix(route, "/console/") {
			return nil
		}
		found = append(found, method+" "+route)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEveryRouteIsAnOperationOfTheContractAndBack(t *testing.T) {
	t.Parallel()
	operations, served := contractOperations(t), routes(t)
	for _, route := range served {
		if _, ok := operations[route]; !ok {
			t.Errorf("%s is served and not in api/openapi.yaml", route)
		}
	}
	for operation := range operations {
		if !slices.Contains(served, operation) {
			t.Errorf("%s is in api/openapi.yaml and not served", operation)
		}
	}
}

func TestEveryOperationDocumentsTheAnswersThatTheGateGives(t *testing.T) {
	t.Parallel()
	ids := map[string]string{}
	for name, operation := range contractOperations(t) {
		if other, taken := ids[operation.OperationID]; taken || operation.OperationID == "" {
			t.Errorf("%s: operationId %q is missing or that of %q too", name, operation.OperationID, other)
		}
		ids[operation.OperationID] = name
		_, path, _ := strings.Cut(name, " ")
		var want []string
		switch {
		case strings.HasPrefix(path, "/workspaces/"):
			want = []string{"400", "401", "404", "429", "500", "503"}
		case path == "/workspaces":
			want = []string{"400", "401", "429", "500", "503"}
		}
		for _, status := range want {
			if _, ok := operation.Responses[status]; !ok {
				t.Errorf("%s does not document %s", name, status)
			}
		}
	}
}

func TestEveryKindOfProblemIsInTheContract(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`kind: "([a-z-]+)"`).FindAllSubmatch(text, -1) {
			kinds[string(found[1])] = true
		}
	}
	delete(kinds, "client-closed-request") // which nobody is there to read
	document := string(api.YAML())
	from := strings.Index(document, "and one of\n")
	listed := map[string]bool{}
	for _, found := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(document[from:from+strings.Index(document[from:], "More may come.")], -1) {
		listed[found[1]] = true
	}
	if !maps.Equal(kinds, listed) || len(kinds) < 15 {
		t.Errorf("there are %v, listed are %v", slices.Sorted(maps.Keys(kinds)), slices.Sorted(maps.Keys(listed)))
	}
}
