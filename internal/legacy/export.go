package legacy

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// manifestName is the file that says what an export consists of. It is written last.
const manifestName = "manifest.json"

// Manifest describes an export of the archive.
type Manifest struct {
	Archive
	At     time.Time      `json:"at"`
	Tables []ManifestFile `json:"tables"`
}

// Archive tells an archive from all others.
type Archive struct {
	Database     string    `json:"database"`
	System       string    `json:"system_identifier"` // of the database cluster
	ContractedAt time.Time `json:"contracted_at"`
}

// ManifestFile is the export of one table: CSV with a header, compressed with gzip.
type ManifestFile struct {
	Table   string           `json:"table"`
	File    string           `json:"file"`
	Rows    int64            `json:"rows"`
	SHA256  string           `json:"sha256"`     // of the file
	Content string           `json:"sha256_csv"` // of what is compressed in it
	Columns []ManifestColumn `json:"columns"`
}

// ManifestColumn is a column of an exported table and its type.
type ManifestColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// exporter writes the archive's tables to a directory and reads them back.
type exporter struct {
	tx        pgx.Tx
	directory string
	progress  *Progress
}

// export writes every table and then the manifest. What an earlier attempt left is overwritten;
// anything else in the directory is a reason to refuse.
func (e *exporter) export(ctx context.Context, tables []string) (*Manifest, error) {
	manifest := &Manifest{At: time.Now().UTC()}
	err := e.tx.QueryRow(ctx, `SELECT current_database(), (SELECT system_identifier::text FROM pg_control_system()), contracted_at
		FROM legacy_archive.removal`).Scan(&manifest.Database, &manifest.System, &manifest.ContractedAt)
	if err != nil {
		return nil, err
	}
	manifest.ContractedAt = manifest.ContractedAt.UTC()
	if err := e.claim(manifest.Archive, tables); err != nil {
		return nil, err
	}
	for _, name := range tables {
		file, err := e.table(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("export %s: %w", name, err)
		}
		e.progress.Note("purge: exported %d rows of %s", file.Rows, name)
		manifest.Tables = append(manifest.Tables, *file)
	}
	text, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return nil, err
	}
	return manifest, e.write(manifestName, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// claim makes the directory, or sees that nothing in it is anybody else's, nor the export of another archive.
func (e *exporter) claim(archive Archive, tables []string) error {
	if e.directory == "" {
		return errors.New("no directory was named for the export")
	}
	if err := os.MkdirAll(e.directory, 0o700); err != nil {
		return fmt.Errorf("make the directory of the export: %w", err)
	}
	entries, err := os.ReadDir(e.directory)
	if err != nil {
		return fmt.Errorf("read the directory of the export: %w", err)
	}
	known := []string{manifestName, manifestName + ".partial"}
	for _, name := range tables {
		known = append(known, fileName(name), fileName(name)+".partial")
	}
	for _, entry := range entries {
		if !slices.Contains(known, entry.Name()) {
			return fmt.Errorf("the directory %s has something else in it: %s", e.directory, entry.Name())
		}
	}
	switch before, err := e.manifest(); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("the directory %s has an export of which nobody knows what it is of: %w", e.directory, err)
	case before.System == "":
		return fmt.Errorf("the directory %s has an export by an earlier release, which does not say of which archive", e.directory)
	case before.Archive != archive:
		return fmt.Errorf("the directory %s has the export of another archive: of the database %s, contracted at %s",
			e.directory, before.Database, before.ContractedAt.Format(time.RFC3339))
	}
	return nil
}

// manifest reads the manifest that there is. The error is os.ErrNotExist if there is none.
func (e *exporter) manifest() (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(e.directory, manifestName))
	if err != nil {
		return nil, err
	}
	var manifest Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestName, err)
	}
	return &manifest, nil
}

func fileName(table string) string { return table + ".csv.gz" }

// write writes a file so that it is there whole or not at all.
func (e *exporter) write(name string, content func(io.Writer) error) (err error) {
	if filepath.Base(name) != name { // a table may have any name
		return fmt.Errorf("%q cannot be the name of a file", name)
	}
	path := filepath.Join(e.directory, name)
	file, err := os.OpenFile(path+".partial", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	if err := content(file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(path+".partial", path); err != nil {
		return err
	}
	directory, err := os.Open(e.directory)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// table exports one table, but for its generated columns, which can be made again of the others.
func (e *exporter) table(ctx context.Context, name string) (*ManifestFile, error) {
	file := &ManifestFile{Table: name, File: fileName(name)}
	rows, err := e.tx.Query(ctx, `SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
		WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`, ArchiveSchema+"."+quoted(name))
	if err != nil {
		return nil, err
	}
	if file.Columns, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ManifestColumn]); err != nil {
		return nil, err
	}
	compressed, content := sha256.New(), sha256.New()
	err = e.write(file.File, func(w io.Writer) error {
		packed := gzip.NewWriter(io.MultiWriter(w, compressed))
		tag, err := e.tx.Conn().PgConn().CopyTo(ctx, io.MultiWriter(packed, content),
			"COPY "+ArchiveSchema+"."+quoted(name)+" TO STDOUT (FORMAT csv, HEADER)")
		file.Rows = tag.RowsAffected()
		return errors.Join(err, packed.Close())
	})
	file.SHA256, file.Content = sum(compressed), sum(content)
	return file, err
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// readBack reads the export as somebody would who needs it one day, and compares it with its
// manifest: the sums, the columns and the number of rows.
func (e *exporter) readBack() error {
	manifest, err := e.manifest()
	if err != nil {
		return err
	}
	for _, file := range manifest.Tables {
		if err := e.readFile(file); err != nil {
			return fmt.Errorf("%s: %w", file.File, err)
		}
	}
	return nil
}

func (e *exporter) readFile(want ManifestFile) error {
	file, err := os.Open(filepath.Join(e.directory, want.File))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	compressed, content := sha256.New(), sha256.New()
	whole := io.TeeReader(file, compressed)
	unpacked, err := gzip.NewReader(whole)
	if err != nil {
		return err
	}
	reader := csv.NewReader(io.TeeReader(unpacked, content))
	reader.FieldsPerRecord, reader.ReuseRecord = len(want.Columns), true
	rows := int64(-1) // the header is none
	for {
		_, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		rows++
	}
	if _, err := io.Copy(io.Discard, whole); err != nil {
		return err
	}
	if rows != want.Rows || sum(content) != want.Content || sum(compressed) != want.SHA256 {
		return fmt.Errorf("it has %d rows and the sum %s, the manifest says %d rows and %s", rows, sum(compressed), want.Rows, want.SHA256)
	}
	return nil
}
