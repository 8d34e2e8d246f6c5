package console_test

import (
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/console"
)

func TestASettingStaysWithinItsAttribute(t *testing.T) {
	t.Parallel()
	site, err := console.New(console.Settings{
		Issuer: `https://issuer.test/"><script>`, ClientID: "a'b", Scope: "{base} {modules}", Audience: "<&>",
	})
	if err != nil {
		t.Fatal(err)
	}
	page := string(site.Page().Body)
	for _, want := range []string{
		`content="https://issuer.test/&#34;&gt;&lt;script&gt;"`, `content="a&#39;b"`, `content="{base} {modules}"`, `content="&lt;&amp;&gt;"`,
		`/main.js"></script>`, `<link rel="modulepreload" href="/console/assets/`, `/views/run.js">`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if strings.Contains(page, "<script>") || strings.Contains(page, `href="{`) {
		t.Errorf("the page is\n%s", page)
	}
}
