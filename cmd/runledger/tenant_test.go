package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
)

func TestAnOperatorKeepsTheTenantsOfAWorkspace(t *testing.T) {
	t.Parallel()
	environ := []string{"RUNLEDGER_DATABASE_URL=" + dbtest.Fresh(t)}
	does(t, environ, "workspace", "create", "acme")
	does(t, environ, "workspace", "create", "other")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"tenant", "add", "acme", "Contoso Ltd", "--external-id", "ext-1"}, "Added tenant 1 (Contoso Ltd) to acme.\n"},
		{[]string{"tenant", "add", "acme", "Contoso Ltd"}, "Added tenant 2 (Contoso Ltd) to acme.\n"},
		{[]string{"tenant", "add", "acme", "Contoso Ltd"}, "Added tenant 3 (Contoso Ltd) to acme.\n"}, // a name is for people, who may use it twice
		{[]string{"tenant", "rename", "acme", "2", "Fabrikam"}, "Tenant 2 of acme, Contoso Ltd until now, is called Fabrikam.\n"},
		{[]string{"tenant", "rename", "acme", "2", "Fabrikam"}, "Tenant 2 of acme is called Fabrikam, as before.\n"},
	} {
		if got := does(t, environ, c.args...); got != c.want {
			t.Errorf("%v says %q, want %q", c.args, got, c.want)
		}
	}
	// Another workspace may know another tenant by the same id.
	does(t, environ, "tenant", "add", "other", "Theirs", "--external-id", "ext-1")
	lines := strings.Split(does(t, environ, "tenant", "list", "acme"), "\n")
	for i, want := range []string{"ID NAME EXTERNAL ID SINCE", "1 Contoso Ltd ext-1 20", "2 Fabrikam - 20", "3 Contoso Ltd - 20"} {
		if got := strings.Join(strings.Fields(lines[i]), " "); !strings.HasPrefix(got, want) {
			t.Errorf("line %d of the tenants is %q, want %q", i, got, want)
		}
	}
	if len(lines) != 5 {
		t.Errorf("the tenants are %q", lines)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"tenant", "add", "acme", "Other", "--external-id", "ext-1"}, exitFailure, `tenant 1 (Contoso Ltd) of acme has the external id "ext-1" already`},
		{[]string{"tenant", "add", "nowhere", "Contoso"}, exitFailure, `there is no workspace "nowhere"`},
		{[]string{"tenant", "list", "nowhere"}, exitFailure, `there is no workspace "nowhere"`},
		{[]string{"tenant", "rename", "nowhere", "1", "Contoso"}, exitFailure, `there is no workspace "nowhere"`},
		{[]string{"tenant", "rename", "other", "1", "Contoso"}, exitFailure, "other has no tenant 1; runledger tenant list other shows"},
		{[]string{"tenant", "rename", "acme", "ext-1", "Contoso"}, exitUsage, `by its id, a whole number from 1, unlike "ext-1"`},
		{[]string{"tenant", "rename", "acme", "0", "Contoso"}, exitUsage, "a whole number from 1"},
		{[]string{"tenant", "add", "acme", " "}, exitUsage, "a tenant's name may not be blank"},
		{[]string{"tenant", "rename", "acme", "1", ""}, exitUsage, "a tenant's name may not be blank"},
		{[]string{"tenant", "add", "acme", "Other", "--external-id", ""}, exitUsage, "--external-id may not be blank"},
		{[]string{"tenant", "add", "acme", "a\nb"}, exitUsage, "without control characters"},
		{[]string{"tenant", "add", "acme", "a\xff"}, exitUsage, "UTF-8"},
		{[]string{"tenant", "add", "acme", strings.Repeat("é", 256)}, exitUsage, "at most 255 characters; this one has 256"},
	} {
		code, stdout, stderr := command(t, environ, c.args...)
		if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "SQLSTATE") {
			t.Errorf("%q exits with %d and says %q, want %d and %q", c.args, code, stderr, c.code, c.want)
		}
	}
	does(t, environ, "tenant", "add", "acme", strings.Repeat("é", 255), "--external-id", strings.Repeat("é", 255))
}

func TestOfThoseWhoAddTheSameTenantAtOnceOneDoes(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	environ := []string{"RUNLEDGER_DATABASE_URL=" + databaseURL}
	does(t, environ, "workspace", "create", "acme")
	const many = 6
	var crowd sync.WaitGroup
	codes, said := make([]int, many), make([]string, many)
	for i := range many {
		crowd.Go(func() {
			codes[i], _, said[i] = command(t, environ, "tenant", "add", "acme", "Contoso "+strconv.Itoa(i), "--external-id", "ext-1")
		})
	}
	crowd.Wait()
	added := 0
	for i, code := range codes {
		switch {
		case code == exitOK:
			added++
		case code != exitFailure || !strings.Contains(said[i], `has the external id "ext-1" already`):
			t.Errorf("one exits with %d: %s", code, said[i])
		}
	}
	var rows string
	if err := dbtest.Connect(t, databaseURL).QueryRow(t.Context(), `SELECT format('%s tenants, %s events',
		(SELECT count(*) FROM tenants), (SELECT count(*) FROM audit_events WHERE action = 'tenant_added'))`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d tenants, %[1]d events", added); added != 1 || rows != want {
		t.Errorf("%d were told that they added it, and there are %s", added, rows)
	}
}
