package feed_test

import (
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }
