//go:build !unix

package localpg

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
)

// account has no meaning here.
type account struct{}

func serverAccount() (*account, error) {
	return nil, fmt.Errorf("a private PostgreSQL is not available on %s; run one yourself and give its URL", runtime.GOOS)
}

func (*account) give(string) error                { return nil }
func (*account) canEnter(string) error            { return nil }
func (*account) attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func stopOrphan(context.Context, *cluster) error { return nil }
