package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"time"
)

// ExportFormat is a form in which a list of runs can be had whole.
type ExportFormat string

// The forms of an export.
const (
	ExportNDJSON ExportFormat = "application/x-ndjson" // a run as JSON on each line
	ExportCSV    ExportFormat = "text/csv"             // a table with a head (RFC 4180)
)

// ErrIncomplete says that an export did not come whole, or not as it was sent.
var ErrIncomplete = errors.New("runledger: the export is not whole")

// Receipt is what proves that an export came whole.
type Receipt struct {
	Rows   int64            `json:"rows"`
	First  *ReceiptPosition `json:"first"` // nil without rows
	Last   *ReceiptPosition `json:"last"`
	SHA256 string           `json:"sha256"` // of all that came before the receipt, in hexadecimal digits
}

// ReceiptPosition is the place of a row in the order of an export, of which one instant is.
type ReceiptPosition struct {
	ID        int64      `json:"id"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
	UpdatedAt *time.Time `json:"updated_at,omitempty"`
}

// ExportOperationRuns writes all runs that params select to w as they come, without the receipt,
// and holds them to the receipt. Limit and Cursor are to be nil. The error is an [*Error] if the
// service refused, and wraps [ErrIncomplete] if what was written cannot be relied on.
func (c *ClientWithResponses) ExportOperationRuns(
	ctx context.Context, workspaceID int64, params ListOperationRunsParams, format ExportFormat, w io.Writer, editors ...RequestEditorFn,
) (Receipt, error) {
	params.IfNoneMatch = nil
	response, err := c.ListOperationRuns(ctx, workspaceID, &params, slices.Concat(editors, []RequestEditorFn{accepting(format)})...)
	if err != nil {
		return Receipt{}, err
	}
	return receive(response, format, w)
}

// ExportBackupScheduleRuns is ExportOperationRuns for the history of a backup schedule.
func (c *ClientWithResponses) ExportBackupScheduleRuns(
	ctx context.Context, workspaceID, scheduleID int64, params ListBackupScheduleRunsParams, format ExportFormat, w io.Writer, editors ...RequestEditorFn,
) (Receipt, error) {
	params.IfNoneMatch = nil
	response, err := c.ListBackupScheduleRuns(ctx, workspaceID, scheduleID, &params, slices.Concat(editors, []RequestEditorFn{accepting(format)})...)
	if err != nil {
		return Receipt{}, err
	}
	return receive(response, format, w)
}

// accepting asks for a form.
func accepting(format ExportFormat) RequestEditorFn {
	return func(_ context.Context, request *http.Request) error {
		request.Header.Set("Accept", string(format))
		return nil
	}
}

// receive reads an export and checks it.
func receive(response *http.Response, format ExportFormat, w io.Writer) (Receipt, error) {
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		const longest = 1 << 20
		body, _ := io.ReadAll(io.LimitReader(response.Body, longest)) // the status says enough
		return Receipt{}, errorOf(response, body)
	}
	in := &exportReader{to: w, sum: sha256.New(), csv: format == ExportCSV}
	if err := in.readAll(response.Body); err != nil {
		return Receipt{}, err
	}
	text := in.receipt
	if in.csv {
		text = []byte(response.Trailer.Get("Receipt"))
		in.rows-- // the head
	}
	var receipt Receipt
	if len(text) == 0 {
		return receipt, fmt.Errorf("%w: it has no receipt", ErrIncomplete)
	}
	if err := json.Unmarshal(text, &receipt); err != nil {
		return receipt, fmt.Errorf("%w: its receipt cannot be read: %w", ErrIncomplete, err)
	}
	if sum := hex.EncodeToString(in.sum.Sum(nil)); sum != receipt.SHA256 || in.rows != receipt.Rows {
		return receipt, fmt.Errorf("%w: %d rows with the sum %s came, and %d with %s were sent",
			ErrIncomplete, in.rows, sum, receipt.Rows, receipt.SHA256)
	}
	return receipt, nil
}

// exportReader passes an export on while it counts and sums up.
type exportReader struct {
	to      io.Writer
	sum     hash.Hash
	csv     bool
	rows    int64 // of CSV with the head
	quoted  bool  // whether the field of CSV goes on over the end of the line
	receipt []byte
}

// readAll reads the body to its end.
func (e *exportReader) readAll(body io.Reader) error {
	const buffered = 256 << 10
	lines := bufio.NewReaderSize(body, buffered)
	for begins := true; ; {
		part, err := lines.ReadSlice('\n')
		if len(part) > 0 {
			if err := e.take(part, begins); err != nil {
				return err
			}
			begins = part[len(part)-1] == '\n'
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("%w: it broke off: %w", ErrIncomplete, err)
		}
	}
}

// take takes a part of a line. No run begins like the receipt: its first member is its id.
func (e *exportReader) take(part []byte, begins bool) error {
	prefix, ends := []byte(`{"receipt":`), part[len(part)-1] == '\n'
	switch {
	case e.receipt != nil:
		return fmt.Errorf("%w: something comes behind its receipt", ErrIncomplete)
	case !e.csv && begins && ends && bytes.HasPrefix(part, prefix):
		e.receipt = bytes.Clone(bytes.TrimSuffix(bytes.TrimPrefix(part, prefix), []byte("}\n")))
		return nil
	}
	if e.csv && bytes.Count(part, []byte{'"'})%2 == 1 {
		e.quoted = !e.quoted
	}
	if ends && !e.quoted {
		e.rows++
	}
	_, _ = e.sum.Write(part) // never fails
	_, err := e.to.Write(part)
	return err
}
