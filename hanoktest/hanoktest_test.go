package hanoktest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/hanoktest"
)

// session is a client as small as can be: what a reader of this test needs to see is on the wire.
type session struct {
	t       *testing.T
	token   string
	catalog map[string]string
}

func login(t *testing.T, c *hanoktest.Cloud) *session {
	t.Helper()
	body := fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"password":%q,"domain":{"name":%q}}}},
		"scope":{"project":{"name":%q,"domain":{"name":%q}}}}}`, c.Username, c.Password, c.DomainName, c.Project, c.DomainName)
	resp, err := http.Post(c.AuthURL+"/auth/tokens", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct {
		Token struct {
			Catalog []struct {
				Type      string
				Endpoints []struct{ Interface, URL string }
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != 201 {
		t.Fatal(resp.Status, err)
	}
	s := &session{t: t, token: resp.Header.Get("X-Subject-Token"), catalog: map[string]string{}}
	for _, svc := range out.Token.Catalog {
		for _, e := range svc.Endpoints {
			if e.Interface == "public" {
				s.catalog[svc.Type] = e.URL
			}
		}
	}
	return s
}

func (s *session) do(method, service, path, body string, status int, out any) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.catalog[service]+path, bytes.NewReader([]byte(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		s.t.Fatalf("%s %s: %s (want %d): %s %v", method, path, resp.Status, status, b, err)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *session) first(service, path, key string) string {
	s.t.Helper()
	var out map[string]json.RawMessage
	s.do("GET", service, path, "", 200, &out)
	var list []struct{ ID string }
	if err := json.Unmarshal(out[key], &list); err != nil || len(list) == 0 {
		s.t.Fatalf("%s: %s %v", path, out[key], err)
	}
	return list[0].ID
}

// boot makes a server and waits until it has left BUILD.
func (s *session) boot() (status, fault string) {
	s.t.Helper()
	var out struct{ Server struct{ ID string } }
	s.do("POST", "compute", "/servers", fmt.Sprintf(`{"server":{"name":"s","flavorRef":%q,"imageRef":%q,"networks":[{"uuid":%q}]}}`,
		s.first("compute", "/flavors", "flavors"), s.first("image", "/v2/images", "images"), s.first("network", "/v2.0/networks?name=private", "networks")), 202, &out)
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		var show struct {
			Server struct {
				Status string
				Fault  struct{ Message string }
			}
		}
		s.do("GET", "compute", "/servers/"+out.Server.ID, "", 200, &show)
		if show.Server.Status != "BUILD" {
			return show.Server.Status, show.Server.Fault.Message
		}
	}
	s.t.Fatal("the server stays in BUILD")
	return "", ""
}

func TestAServerBoots(t *testing.T) {
	t.Parallel()
	s := login(t, hanoktest.Start(t, hanoktest.Nodes(1)))
	if status, fault := s.boot(); status != "ACTIVE" {
		t.Errorf("%s: %s", status, fault)
	}
	var hosts struct{ Hypervisors []struct{ ID int } }
	s.do("GET", "compute", "/os-hypervisors", "", 200, &hosts)
	for _, h := range hosts.Hypervisors {
		s.do("GET", "compute", fmt.Sprintf("/os-hypervisors/%d/uptime", h.ID), "", 200, nil)
	}
	if len(hosts.Hypervisors) != 1 {
		t.Error(hosts)
	}
}

func TestAServerFailsWhenToldTo(t *testing.T) {
	t.Parallel()
	status, fault := login(t, hanoktest.Start(t, hanoktest.FailRate(1))).boot()
	if status != "ERROR" || fault == "" {
		t.Errorf("%s: %q; a failed boot must end in ERROR and say why", status, fault)
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	s := login(t, hanoktest.Start(t, hanoktest.Empty()))
	var out struct{ Flavors []any }
	s.do("GET", "compute", "/flavors", "", 200, &out)
	if len(out.Flavors) != 0 {
		t.Error(out.Flavors)
	}
}
