//go:build unix

package localpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// account is the user that the server's processes run as when the caller is root, whom PostgreSQL
// refuses. A nil account is the caller itself.
type account struct {
	name     string
	uid, gid int
}

// serverAccount chooses the account for root: postgres if there is one, else nobody.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // a nil account is the caller
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &account{name: name, uid: uid, gid: gid}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody to run it as; start this as another user")
}

// give makes the account the owner of path.
func (a *account) give(path string) error {
	if a == nil {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// canEnter fails if the account may not pass through dir or one of its parents.
func (a *account) canEnter(dir string) error {
	if a == nil {
		return nil
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	var path []string
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		path = append(path, dir)
	}
	for _, dir := range slices.Backward(path) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if !a.maySearch(info) {
			return fmt.Errorf("PostgreSQL refuses to run as root and runs as user %s here, who may not enter %s (mode %s); choose a data directory elsewhere, e.g. below /var/lib or /tmp", a.name, dir, info.Mode())
		}
	}
	return nil
}

// maySearch reports whether the account has the right to pass through a directory.
func (a *account) maySearch(dir fs.FileInfo) bool {
	stat, ok := dir.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	mode := dir.Mode().Perm()
	switch {
	case int(stat.Uid) == a.uid:
		return mode&0o100 != 0
	case int(stat.Gid) == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

// attributes make a process run as the account and in a process group of its own, so that a
// terminal's interrupt reaches the caller first, who needs the server until the end.
func (a *account) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // ids are small
	}
	return attr
}
