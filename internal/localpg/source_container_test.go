//go:build unix

package localpg

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAContainerKeepsItsDataAndIsGoneAfterStop(t *testing.T) {
	t.Parallel()
	engine := container{docker: "docker"}
	if err := engine.run(t.Context(), "image", "inspect", containerImage); err != nil {
		t.Skipf("no Docker engine with %s here: %v", containerImage, err)
	}
	// The mark of a container's data, so that no PostgreSQL of this machine is looked for.
	dir := newDir(t)
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // the server's user must get in
		t.Fatal(err)
	}
	for name, text := range map[string]string{lockName: "", containerMark: "", "password": "of-the-test"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := mustStart(t, Options{Dir: dir})
	held, ok := first.engine.(container)
	if !ok {
		t.Fatalf("the engine is %s", first.engine)
	}
	execute(t, first, "CREATE TABLE kept AS SELECT 'here'::text AS word")
	mustStop(t, first)
	if err := held.run(t.Context(), "container", "inspect", held.name); err == nil {
		t.Errorf("container %s is still there", held.name)
	}
	second := mustStart(t, Options{Dir: dir})
	if got := query(t, second, "SELECT word FROM kept"); got != "here" {
		t.Errorf("read %q", got)
	}
	mustStop(t, second)
	if err := held.run(t.Context(), "volume", "rm", held.name); err != nil {
		t.Error(err)
	}
}
