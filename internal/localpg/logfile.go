package localpg

import (
	"bytes"
	"io"
	"os"
)

// largestLog is the size in bytes over which a log is started anew.
const largestLog = 16 << 20

// openLog opens the server's log for appending and says at which byte this start's part begins.
func (c *cluster) openLog() (*os.File, int64, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	var start int64
	if info, err := os.Stat(c.path(logName)); err == nil {
		if start = info.Size(); start > largestLog {
			flags |= os.O_TRUNC
			start = 0
		}
	}
	f, err := os.OpenFile(c.path(logName), flags, 0o600)
	if err != nil {
		return nil, 0, err
	}
	return f, start, nil
}

// tailFrom returns the last lines of a log, none of them before start.
func tailFrom(path string, start int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(f)
	return lastLines(text), err
}

// lastLines returns the end of text, as much of it as an error message can carry.
func lastLines(text []byte) []byte {
	const most = 20
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-most):], []byte("\n"))
}
