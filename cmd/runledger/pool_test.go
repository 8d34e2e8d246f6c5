package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// largestRead is the longest that was read at once.
type largestRead struct{ bytes int }

// Read reads nothing.
func (l *largestRead) Read(p []byte) (int, error) {
	l.bytes = max(l.bytes, len(p))
	return 0, io.EOF
}

func TestAnswersOfTheDatabaseAreReadManyMessagesAtOnce(t *testing.T) {
	t.Parallel()
	c, err := readConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := c.pool("postgres://db.example/runledger")
	if err != nil {
		t.Fatal(err)
	}
	var read largestRead
	if _, err := pool.ConnConfig.BuildFrontend(&read, io.Discard).Receive(); err == nil {
		t.Error("a message was read out of nothing")
	}
	if read.bytes != readAtOnce {
		t.Errorf("%d bytes are read at once, want %d", read.bytes, readAtOnce)
	}
}

// TestACommandGivesUpWhereNobodyAnswers holds that without being told how long to wait.
func TestACommandGivesUpWhereNobodyAnswers(t *testing.T) {
	t.Parallel()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections, and says nothing on them
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	list := exec.CommandContext(t.Context(), builtBinary, "workspace", "list")
	list.Env = []string{"RUNLEDGER_DATABASE_URL=postgres://u:hunter2@" + silent.Addr().String() + "/d?sslmode=disable"}
	ended := make(chan []byte, 1)
	go func() {
		told, _ := list.CombinedOutput()
		ended <- told
	}()
	select {
	case told := <-ended:
		if !strings.Contains(string(told), "connect") || strings.Contains(string(told), "hunter2") {
			t.Errorf("it says %s", told)
		}
	case <-time.After(time.Minute):
		t.Error("it waits for ever")
	}
}

// TestTheCompositionGivesAServerTheTimeThatItTakesToEnd holds that of a server as it is configured by default.
func TestTheCompositionGivesAServerTheTimeThatItTakesToEnd(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var composition struct {
		Services map[string]struct {
			StopGracePeriod string            `yaml:"stop_grace_period"`
			Environment     map[string]string `yaml:"environment"`
		} `yaml:"services"`
	}
	if err := yaml.Unmarshal(text, &composition); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server-a", "server-b"} {
		service := composition.Services[name]
		var environ []string
		for variable, value := range service.Environment {
			if !strings.Contains(value, "${") { // which compose fills in
				environ = append(environ, variable+"="+value)
			}
		}
		c, err := readConfig(environ)
		if err != nil {
			t.Fatal(err)
		}
		given, err := time.ParseDuration(service.StopGracePeriod)
		if err != nil {
			t.Fatal(err)
		}
		// A statement that is under way at the end of the grace may take its time.
		if takes := c.ShutdownDelay + c.ShutdownGrace + c.StatementTimeout + time.Second; given <= takes {
			t.Errorf("%s is killed after %s and may take %s", name, given, takes)
		}
	}
}
