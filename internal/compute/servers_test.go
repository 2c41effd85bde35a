package compute_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func TestLifeOfAServer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		c.node("n1", 4096)
		id := c.boot("web", `,"metadata":{"a":"b"},"tags":["x"],"user_data":"IyEvYmluL3No"`)
		if s := c.server(id); s.text("server", "status") != "BUILD" || s.text("server", "OS-EXT-STS:task_state") != "spawning" {
			t.Error(s.body)
		}
		g := c.guests("n1")[id]
		if len(g.NICs) != 1 || g.Metadata.Hostname != "web.novalocal" || g.Metadata.Meta["a"] != "b" || string(g.Metadata.UserData) != "#!/bin/sh" || g.Power != nodeapi.PowerRunning {
			t.Errorf("guest %+v", g)
		}
		c.report("n1", nodeapi.GuestStatus{ID: id, Power: nodeapi.ObservedPending, Step: "disk"})
		if s := c.server(id).text("server", "OS-EXT-STS:task_state"); s != "block_device_mapping" {
			t.Error(s)
		}
		c.realise("n1")
		s := c.server(id)
		if s.text("server", "status") != "ACTIVE" || s.get("server", "OS-EXT-STS:power_state") != 1.0 || s.get("server", "OS-EXT-STS:task_state") != nil {
			t.Error(s.body)
		}
		s.says(`"addr":"10.0.`).says(`"tags":["x"]`)
		for _, step := range []struct{ action, task, status string }{
			{`{"os-stop":null}`, "powering-off", "SHUTOFF"}, {`{"os-start":null}`, "powering-on", "ACTIVE"},
			{`{"reboot":{"type":"SOFT"}}`, "rebooting", "ACTIVE"}, {`{"reboot":{"type":"HARD"}}`, "rebooting_hard", "ACTIVE"},
			{`{"pause":null}`, "pausing", "PAUSED"}, {`{"unpause":null}`, "unpausing", "ACTIVE"},
			{`{"suspend":null}`, "suspending", "SUSPENDED"}, {`{"resume":null}`, "resuming", "ACTIVE"},
			{`{"rebuild":{"imageRef":"` + imageID + `"}}`, "rebuilding", "ACTIVE"},
		} {
			token := "member"
			if strings.Contains(step.action, "pause") || strings.Contains(step.action, "suspend") {
				token = "admin"
			}
			c.do(token, latestMV, "POST", "/compute/v2.1/servers/"+id+"/action", step.action).must(202)
			if got := c.server(id).text("server", "OS-EXT-STS:task_state"); got != step.task && step.action != `{"suspend":null}` {
				t.Errorf("%s: task %q, want %q", step.action, got, step.task)
			}
			c.act(id, `{"os-stop":null}`).must(409)
			c.realise("n1")
			if got := c.server(id).text("server", "status"); got != step.status {
				t.Errorf("%s: status %s, want %s", step.action, got, step.status)
			}
		}
		actions := c.do("member", latestMV, "GET", "/compute/v2.1/servers/"+id+"/os-instance-actions", "").must(200)
		if l := actions.get("instanceActions").([]any); len(l) != 10 {
			t.Errorf("%d actions: %s", len(l), actions.body)
		}
		c.do("member", latestMV, "DELETE", "/compute/v2.1/servers/"+id, "").must(204)
		if s := c.server(id); s.text("server", "OS-EXT-STS:task_state") != "deleting" || s.text("server", "status") != "ACTIVE" {
			t.Error(s.body)
		}
		if g := c.guests("n1")[id]; g.Power != nodeapi.PowerAbsent {
			t.Error("the node is not asked to remove the guest")
		}
		c.realise("n1")
		c.do("member", latestMV, "GET", "/compute/v2.1/servers/"+id, "").must(404).says(`{"itemNotFound":{"code":404,"message":"Instance ` + id + ` could not be found."}}`)
		c.nothingLeft()
		c.do("admin", latestMV, "GET", "/compute/v2.1/servers/detail?deleted=1&all_tenants=1", "").must(200).says(`"status":"DELETED"`)
	})
}

// nothingLeft checks that no port, allocation or guest remains.
func (c *cloud) nothingLeft() {
	c.t.Helper()
	if err := c.db.Read(context.Background(), func(tx *db.Tx) error {
		for _, q := range []string{`SELECT count(*) FROM net_ports WHERE device_owner LIKE 'compute:%'`, `SELECT count(*) FROM placement_allocations`,
			`SELECT count(*) FROM servers WHERE NOT gone`, `SELECT count(*) FROM server_actions WHERE finished_at = 0`} {
			n, err := db.One(tx, db.Value[int64], q)
			if err != nil {
				return err
			}
			if n != 0 {
				c.t.Errorf("%s: %d", q, n)
			}
		}
		return nil
	}); err != nil {
		c.t.Fatal(err)
	}
}

func TestAnUnplaceableServerSaysWhy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		c.node("small", 32)
		c.node("tiny", 16)
		id := c.boot("big")
		s := c.server(id)
		if s.text("server", "status") != "ERROR" {
			t.Fatal(s.body)
		}
		s.says("No valid host was found.").says("MEMORY_MB: 64 turned down 2").says("nearest: small gives MEMORY_MB only")
		c.do("member", latestMV, "GET", "/compute/v2.1/servers/"+id+"/os-instance-actions", "").says(`"message":"Error"`)
		c.do("member", latestMV, "DELETE", "/compute/v2.1/servers/"+id, "").must(204)
		c.nothingLeft()

		c.node("large", 4096)
		c.do("admin", "2.1", "PUT", "/compute/v2.1/os-services/disable", `{"host":"large","binary":"nova-compute"}`).must(200)
		c.server(c.boot("refused")).says("ComputeFilter turned down 1; nearest: large has its compute service disabled")
	})
}

func TestFaultsThatAreFinalMakeErrors(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	c.node("n1", 4096)
	id := c.boot("a")
	c.report("n1", nodeapi.GuestStatus{ID: id, Power: nodeapi.ObservedPending, Step: "image", Fault: &nodeapi.Fault{Step: "image", Message: "the network is slow", Retryable: true}})
	if s := c.server(id).text("server", "status"); s != "BUILD" {
		t.Error("a fault that is tried again: " + s)
	}
	c.report("n1", nodeapi.GuestStatus{ID: id, Power: nodeapi.ObservedPending, Step: "image",
		Fault: &nodeapi.Fault{Step: "image", Message: "image x has another checksum", Hint: "upload it again"}})
	s := c.server(id)
	if s.text("server", "status") != "ERROR" || s.text("server", "fault", "message") != "image x has another checksum" {
		t.Error(s.body)
	}
	s.says(`step: image\ncause: image x has another checksum\nhint: upload it again`)
	c.act(id, `{"rebuild":{"imageRef":"`+imageID+`"}}`).must(202)
	c.realise("n1")
	if s := c.server(id).text("server", "status"); s != "ACTIVE" {
		t.Error("after the rebuild: " + s)
	}
	c.report("n1", nodeapi.GuestStatus{ID: id, Generation: 9, RebuildSeq: 1, Power: nodeapi.ObservedCrashed})
	if s := c.server(id).text("server", "status"); s != "SHUTOFF" {
		t.Error("after a crash: " + s)
	}
}

func TestReportsOfOthersChangeNothing(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	c.node("n1", 4096)
	id := c.boot("a")
	c.report("n2", nodeapi.GuestStatus{ID: id, Generation: 1, Power: nodeapi.ObservedRunning}, nodeapi.GuestStatus{ID: someUUID, Power: nodeapi.ObservedAbsent})
	c.report("n1", nodeapi.GuestStatus{ID: id, Power: nodeapi.ObservedAbsent})
	if s := c.server(id).text("server", "status"); s != "BUILD" {
		t.Error(s)
	}
}

func TestDeleteWhileTheNodeIsDown(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		c.node("n1", 4096)
		id := c.boot("a")
		c.realise("n1")
		c.do("admin", "2.11", "PUT", "/compute/v2.1/os-services/force-down", `{"host":"n1","binary":"nova-compute","forced_down":true}`).must(200)
		c.do("member", latestMV, "DELETE", "/compute/v2.1/servers/"+id, "").must(204)
		c.do("member", latestMV, "GET", "/compute/v2.1/servers/"+id, "").must(404)
		if g := c.guests("n1")[id]; g.Power != nodeapi.PowerAbsent {
			t.Error("when the node comes back it must remove the guest")
		}
		c.realise("n1")
		if len(c.guests("n1")) != 0 {
			t.Error("the guest stays")
		}
		c.nothingLeft()
	})
}

func TestNothingStaysInDeletingOnADownNode(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		c.node("n1", 4096)
		id := c.boot("a")
		c.realise("n1")
		c.do("member", latestMV, "DELETE", "/compute/v2.1/servers/"+id, "").must(204)
		sweep := func(want int) {
			t.Helper()
			if n, err := c.compute.EndOnDownNodes(context.Background()); err != nil || n != want {
				t.Fatalf("%d servers ended, want %d: %v", n, want, err)
			}
		}
		sweep(0)
		c.do("admin", "2.11", "PUT", "/compute/v2.1/os-services/force-down", `{"host":"n1","binary":"nova-compute","forced_down":true}`).must(200)
		sweep(1)
		c.do("member", latestMV, "GET", "/compute/v2.1/servers/"+id, "").must(404)
		c.realise("n1")
		c.nothingLeft()
	})
}

// TestAnOldFullReportEndsNothing: a report that was written before the node heard of a guest arrives when the server is already deleted.
func TestAnOldFullReportEndsNothing(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	c.node("n1", 4096)
	id := c.boot("a")
	c.do("member", latestMV, "DELETE", "/compute/v2.1/servers/"+id, "").must(204)
	if err := c.hub.Report(context.Background(), nodeapi.Report{Node: "n1", Full: true}); err != nil {
		t.Fatal(err)
	}
	if g, ok := c.guests("n1")[id]; !ok || g.Power != nodeapi.PowerAbsent {
		t.Fatalf("the node is not told to remove the guest: %+v", g)
	}
	c.realise("n1")
	c.nothingLeft()
}

func TestQuota(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		c.node("n1", 40960)
		for i := range 10 {
			c.boot(fmt.Sprint("s", i))
		}
		c.do("member", latestMV, "POST", "/compute/v2.1/servers", serverBody("eleventh", c.netID)).must(403).
			says(`{"forbidden":{"code":403,"message":"Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"}}`)
		c.do("admin", latestMV, "PUT", "/compute/v2.1/os-quota-sets/"+project, `{"quota_set":{"instances":12}}`).must(200)
		c.do("member", latestMV, "POST", "/compute/v2.1/servers", serverBody("more", c.netID, `,"min_count":1,"max_count":5`)).must(202)
		l := c.do("member", latestMV, "GET", "/compute/v2.1/limits", "").must(200)
		if n := l.get("limits", "absolute", "totalInstancesUsed"); n != 12.0 {
			t.Errorf("%v servers with a quota of 12", n)
		}
		c.do("admin", latestMV, "PUT", "/compute/v2.1/os-quota-sets/"+project, `{"quota_set":{"instances":2}}`).must(400).
			says("Quota limit 2 for instances must be greater than or equal to already used and reserved 12.")
	})
}

// TestCountsBeyondAllMeasure: a request names any number of servers it likes, and costs no more than what the quota lets it make.
func TestCountsBeyondAllMeasure(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		c.node("n1", 409600)
		create := func(more string) *reply {
			return c.do("member", latestMV, "POST", "/compute/v2.1/servers", serverBody("many", c.netID, more))
		}
		for _, n := range []string{`9000000000000000000`, `"9000000000000000000"`, `99999999999999999999999`} {
			create(`,"min_count":` + n + `,"max_count":` + n).must(403).says("Quota exceeded for cores, instances, ram: Requested ")
		}
		create(`,"max_count":99999999999999999999999`).must(202)
		used := func() any {
			return c.do("member", latestMV, "GET", "/compute/v2.1/limits", "").must(200).get("limits", "absolute", "totalInstancesUsed")
		}
		if n := used(); n != 10.0 {
			t.Errorf("%v servers with a quota of 10", n)
		}
		c.do("admin", latestMV, "PUT", "/compute/v2.1/os-quota-sets/"+project, `{"quota_set":{"instances":-1,"cores":-1,"ram":-1}}`).must(200)
		create(`,"min_count":9000000000000000000,"max_count":9000000000000000000`).must(403).says("one request can make 1000 instances")
		if n := used(); n != 10.0 {
			t.Errorf("%v servers after a request that was refused", n)
		}
	})
}

func TestListFiltersAndPages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		c.node("n1", 40960)
		a, b := c.boot("alpha", `,"tags":["red","blue"]`), c.boot("beta", `,"tags":["red"]`)
		for _, id := range []string{a, someUUID} { // another project's server is as unknown as one that is not there
			c.do("other", latestMV, "GET", "/compute/v2.1/servers?marker="+id, "").must(400).says("marker [" + id + "] not found")
			c.do("other", latestMV, "GET", "/compute/v2.1/os-simple-tenant-usage/"+other+"?marker="+id, "").must(400).says("Marker " + id + " could not be found.")
		}
		c.realise("n1")
		c.act(b, `{"os-stop":null}`).must(202)
		c.realise("n1")
		c.act(a, `{"lock":{"locked_reason":"mine"}}`).must(202)
		for query, want := range map[string]string{
			"":                                    b + a,
			"?sort_key=display_name&sort_dir=asc": a + b,
			"?name=alph":                          a, "?name=^b": b, "?status=active": a, "?status=SHUTOFF": b, "?status=shutoff&status=active": b + a,
			"?tags=red": b + a, "?tags=red,blue": a, "?tags-any=blue,green": a, "?not-tags=blue,red": b, "?not-tags-any=blue": b,
			"?locked=true": a, "?locked=false": b, "?flavor=1": b + a, "?flavor=2": "", "?image=" + imageID: b + a, "?image=" + vmdkID: "",
			"?ip=10.0": b + a, "?ip=10.9": "", "?limit=1": b, "?marker=" + b: a, "?limit=0": "", "?changes-since=2001-01-01T00:00:00Z": b + a,
			"?changes-since=2091-01-01T00:00:00Z": "", "?vm_state=stopped": b, "?deleted=true": b + a, "?power_state=1": a, "?host=other": b + a,
		} {
			r := c.do("member", latestMV, "GET", "/compute/v2.1/servers"+query, "").must(200)
			got := ""
			for _, s := range r.get("servers").([]any) {
				got += s.(map[string]any)["id"].(string)
			}
			if got != want {
				t.Errorf("%s: %s, want %s", query, got, want)
			}
		}
		c.do("member", latestMV, "GET", "/compute/v2.1/servers?limit=1", "").says(`"servers_links":[{"rel":"next","href":"http://cloud/compute/v2.1/servers?limit=1&marker=` + b)
		c.do("member", latestMV, "GET", "/compute/v2.1/servers?marker=nope", "").must(400).says("marker [nope] not found")
		c.do("member", latestMV, "GET", "/compute/v2.1/servers?all_tenants=1", "").must(403)
		c.do("other", latestMV, "GET", "/compute/v2.1/servers", "").must(200).says(`{"servers":[]}`)
		c.do("admin", latestMV, "GET", "/compute/v2.1/servers?all_tenants=1&host=n1", "").must(200).says(a)
		c.do("member", latestMV, "GET", "/compute/v2.1/servers?name=%28%3FP%3Cx%3Ea%29", "").must(map[db.Engine]int{db.SQLite: 200, db.Postgres: 400}[d.Engine()])
		c.do("other", latestMV, "GET", "/compute/v2.1/servers/"+a, "").must(404)
		c.do("other", latestMV, "DELETE", "/compute/v2.1/servers/"+a, "").must(404)
	})
}

func TestCachedListIsNeverStale(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	c.node("n1", 4096)
	id := c.boot("a")
	list := func() string {
		return c.do("member", latestMV, "GET", "/compute/v2.1/servers/detail", "").must(200).body
	}
	for _, change := range []struct {
		do   func()
		want string
	}{
		{func() {}, `"status":"BUILD"`},
		{func() { c.realise("n1") }, `"status":"ACTIVE"`},
		{func() {
			c.do("member", "", "PUT", "/compute/v2.1/servers/"+id, `{"server":{"name":"renamed"}}`).must(200)
		}, `"name":"renamed"`},
		{func() {
			c.do("member", "", "POST", "/compute/v2.1/servers/"+id+"/metadata", `{"metadata":{"k":"v"}}`).must(200)
		}, `"metadata":{"k":"v"}`},
		{func() {
			c.do("member", "", "POST", "/network/v2.0/security-groups", `{"security_group":{"name":"extra"}}`).must(201)
			c.act(id, `{"addSecurityGroup":{"name":"extra"}}`).must(202)
		}, `{"name":"extra"}`},
	} {
		change.do()
		if got := list(); !strings.Contains(got, change.want) || got != list() {
			t.Errorf("%s\nshould hold %s", got, change.want)
		}
	}
}

func TestAffinity(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	c.node("n1", 4096)
	c.node("n2", 4096)
	for policy, hosts := range map[string]int{"anti-affinity": 2, "affinity": 1} {
		g := c.do("member", "2.64", "POST", "/compute/v2.1/os-server-groups", `{"server_group":{"name":"g","policy":"`+policy+`"}}`).must(200).text("server_group", "id")
		used := map[string]bool{}
		for i := range 2 {
			b := strings.TrimSuffix(serverBody(fmt.Sprint(policy, i), c.netID), "}") + `,"os:scheduler_hints":{"group":"` + g + `"}}`
			id := c.do("member", "", "POST", "/compute/v2.1/servers", b).must(202).text("server", "id")
			used[c.do("admin", "", "GET", "/compute/v2.1/servers/"+id, "").must(200).text("server", "OS-EXT-SRV-ATTR:host")] = true
		}
		if len(used) != hosts {
			t.Errorf("%s: hosts %v", policy, used)
		}
		if policy == "anti-affinity" {
			b := strings.TrimSuffix(serverBody("third", c.netID), "}") + `,"os:scheduler_hints":{"group":"` + g + `"}}`
			id := c.do("member", "", "POST", "/compute/v2.1/servers", b).must(202).text("server", "id")
			c.server(id).says("ServerGroupAntiAffinityFilter turned down 2")
		}
	}
}

func TestCreateIsRefused(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	c.node("n1", 4096)
	with := func(more string) string { return serverBody("x", c.netID, more) }
	replace := func(old, new string) string { return strings.Replace(with(""), old, new, 1) }
	for _, x := range []struct {
		body   string
		status int
		says   string
	}{
		{replace(`"flavorRef":"1"`, `"flavorRef":"nope"`), 400, "Flavor nope could not be found."},
		{replace(imageID, someUUID), 400, "Can not find requested image"},
		{replace(imageID, vmdkID), 400, "its format vmdk cannot be booted"},
		{replace(imageID, queuedID), 400, "Image " + queuedID + " is not active."},
		{replace(imageID, qcowID), 400, "Flavor's memory is too small for requested image."},
		{replace(`"imageRef":"`+imageID+`",`, ``), 400, "Missing imageRef attribute"},
		{with(`,"key_name":"nope"`), 400, "Invalid key_name provided."},
		{with(`,"availability_zone":"nope"`), 400, "The requested availability zone is not available"},
		{with(`,"availability_zone":"nova:n1"`), 403, "Policy doesn't allow os_compute_api:servers:create:forced_host to be performed."},
		{with(`,"min_count":3,"max_count":2`), 400, "min_count must be <= max_count"},
		{with(`,"nonsense":1`), 400, "Additional properties are not allowed ('nonsense' was unexpected)"},
		{with(`,"security_groups":[{"name":"nope"}]`), 400, "Security group nope not found."},
		{replace(c.netID, someUUID), 400, "Network " + someUUID + " could not be found."},
		{with(`,"block_device_mapping_v2":[{"boot_index":0,"uuid":"` + someUUID + `","source_type":"volume","destination_type":"volume"}]`), 400, "Block Device Mapping is Invalid"},
		{`{`, 400, "Malformed request body"},
		{`{"server":{}}`, 400, "Invalid input for field/attribute server. Value: {}. 'name' is a required property"},
	} {
		c.do("member", latestMV, "POST", "/compute/v2.1/servers", x.body).must(x.status).says(x.says)
	}
	c.do("reader", latestMV, "POST", "/compute/v2.1/servers", with("")).must(403)
	c.do("", latestMV, "POST", "/compute/v2.1/servers", with("")).must(401)
	c.do("member", latestMV, "GET", "/compute/v2.1/servers", "").says(`{"servers":[]}`)
	c.nothingLeft()
	b := strings.Replace(with(`,"block_device_mapping_v2":[{"boot_index":0,"uuid":"`+imageID+`","source_type":"image","destination_type":"local"}]`), `"imageRef":"`+imageID+`",`, "", 1)
	c.do("member", latestMV, "POST", "/compute/v2.1/servers", b).must(202)
}
