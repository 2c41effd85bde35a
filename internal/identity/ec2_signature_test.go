package identity

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

const testSecret = "e7a7a2240136494986991a6598d9fb9f"

// What keystoneclient's Ec2Signer gives for the same requests.
func TestSignatures(t *testing.T) {
	const body = "b6359072c78d70ebee1e81adcbab4f01bf2c23245fa365ef83fe8f1f955085e2"
	const auth = `"Authorization":"AWS4-HMAC-SHA256 Credential=66ec/20110909/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=ced",` +
		`"Content-type":" application/x-www-form-urlencoded; charset=utf-8 ","X-Amz-Date":"20110909T233600Z","User-Agent":"Boto/2.9.2 (linux2)",`
	for name, c := range map[string]struct{ request, want, signed string }{
		"0":       {`{"params":{"SignatureVersion":"0","Action":"Test","Timestamp":"2009-01-03T01:02:03Z"}}`, "XvFd/Yx1YfhOWfiYSXVC0f5ZvtI=", "2009-01-03T01:02:03Z"},
		"1":       {`{"params":{"SignatureVersion":"1","AWSAccessKeyId":"66ec","n":5,"ö":"ü","b":true,"Z":"z"}}`, "SkEKfWoFGc35ukI3oUwBMm9pcok=", ""},
		"2":       {`{"params":{"SignatureVersion":"2","Timestamp":"2009-01-03T01:02:03Z","Path":"/a b*~(ü)+","é":"x"},"verb":"GET","host":"127.0.0.1","path":"/v2.0/cloud"}`, "OdoTbwP/noDuMoAy24pOrdFXDRC/ENZxZ3rJT7zl4Qk=", "2009-01-03T01:02:03Z"},
		"4":       {`{"params":{"Action":"CreateUser"},"headers":{` + auth + `"Host":"iam.amazonaws.com"},"verb":"POST","host":"iam.amazonaws.com","path":"/","body_hash":"` + body + `"}`, "16f030263ce38c12f6833dc53e9f0b51be4110e0a4b417d90e9538a33b143c8d", "20110909T233600Z"},
		"4, boto": {`{"params":{"Action":"CreateUser"},"headers":{` + auth + `"Host":"foo:8000"},"verb":"get","host":"foo:8000","path":"/x y","body_hash":"` + body + `"}`, "2e6563df489d6e06d13e7a911e07faade2b4abd34e7a64a2f1f3635a1f9ad021", "20110909T233600Z"},
		"4, in the query": {`{"params":{"X-Amz-Algorithm":"AWS4-HMAC-SHA256","X-Amz-Credential":"66ec/20110909/us-east-1/iam/aws4_request","X-Amz-Date":"20110909T233600Z","X-Amz-SignedHeaders":"host","Action":"a/b"},` +
			`"headers":{"host":"foo:8000"},"verb":"GET","host":"foo:8000","path":"/","body_hash":"` + body + `"}`, "dbf2a95fd6938fb6a706e9ff2424a42f6cb9ce70fec3c732d9757240ff4a9381", "20110909T233600Z"},
	} {
		q := signedRequestOf(t, c.request)
		got, signed, err := q.sign(testSecret)
		if got != c.want || signed != c.signed || err != nil {
			t.Errorf("version %s: %s at %q, %v; want %s", name, got, signed, err, c.want)
		}
		q.signature = c.want
		if at, err := q.verify(testSecret); err != nil || at != c.signed {
			t.Errorf("version %s: %v", name, err)
		}
		if _, err := q.verify(testSecret + "x"); err == nil {
			t.Errorf("version %s: another secret", name)
		}
		q.signature = ""
		if _, err := q.verify(testSecret); err == nil {
			t.Errorf("version %s: without a signature", name)
		}
	}
}

func signedRequestOf(t testing.TB, text string) signedRequest {
	var d doc
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return readSignedRequest(d)
}

func TestSignatureWithoutPort(t *testing.T) {
	q := signedRequest{verb: "GET", host: "127.0.0.1", path: "/", params: map[string]string{"SignatureVersion": "2"}}
	want, _, err := q.sign(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	for host, good := range map[string]bool{"127.0.0.1": true, "127.0.0.1:8773": true, "127.0.0.2:8773": false, "127.0.0.2": false} {
		q.host, q.signature = host, want
		if _, err := q.verify(testSecret); (err == nil) != good {
			t.Error(host, err)
		}
	}
}

// Requests that cannot be what they say.
func TestBrokenSignatures(t *testing.T) {
	for _, text := range []string{`{}`, `{"params":{"SignatureVersion":"3"}}`, `{"params":{"SignatureVersion":"0"}}`, `{"params":{"SignatureVersion":"0","Action":"x"}}`, `{"params":[],"headers":"x"}`,
		`{"headers":{"Authorization":"AWS4-HMAC-SHA256"}}`, `{"headers":{"Authorization":"AWS4-HMAC-SHA256 Credential=a/b/c"}}`, `{"headers":{"Authorization":"Bearer x"},"params":{"X-Amz-Algorithm":"AWS4-HMAC-SHA256"}}`,
		`{"headers":{"Authorization":"AWS4-HMAC-SHA256 Credential=a/20110909/r/s/aws4_request","X-Amz-Date":"20110910T000000Z"}}`} {
		if got, _, err := signedRequestOf(t, text).sign(testSecret); err == nil {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// Amazon's own examples.
func TestS3Signatures(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	v1 := "GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/johnsmith/photos/puppy.jpg"
	v4 := "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972"
	check := func(text, signature, secret string) error {
		return verifyS3(base64.URLEncoding.EncodeToString([]byte(text)), signature, secret)
	}
	const good1, good4 = "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
	for text, signature := range map[string]string{v1: good1, v4: good4} {
		if err := check(text, signature, secret); err != nil {
			t.Error(err)
		}
		if check(text, signature, secret+"x") == nil || check(text, "", secret) == nil || check(text+"x", signature, secret) == nil {
			t.Error("a wrong signature was taken")
		}
	}
	for _, text := range []string{"AWS4", "AWS4-HMAC-SHA256\n\n\n", strings.Replace(v4, "/s3/", "/ec2/", 1), strings.Replace(v4, "aws4_request", "x", 1), v4 + "\n", strings.Replace(v4, "-SHA256", "-SHA512", 1)} {
		if _, err := signS3V4(text, secret); err == nil {
			t.Errorf("%q was signed", text)
		}
	}
	if verifyS3("not base64!", good1, secret) == nil {
		t.Error("a string to sign that is none")
	}
}

// Whatever a service passes on: nothing panics, nothing is taken with a wrong secret, and what is signed verifies.
func FuzzSignedRequest(f *testing.F) {
	f.Add(`{"params":{"SignatureVersion":"2","a":"b"},"verb":"GET","host":"h:1","path":"/"}`)
	f.Add(`{"params":{"SignatureVersion":"1"}}`)
	f.Add(`{"params":{"a":1.5},"headers":{"Authorization":"AWS4-HMAC-SHA256 Credential=a/20110909/r/s/aws4_request, SignedHeaders=host;;x, Signature=y","X-Amz-Date":"20110909T000000Z"},"verb":"PUT","body_hash":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var d doc
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if dec.Decode(&d) != nil {
			return
		}
		q := readSignedRequest(d)
		before := maps.Clone(q.params)
		if _, err := q.verify("no such secret"); err == nil {
			t.Fatal("a signature by chance")
		}
		want, signed, err := q.sign(testSecret)
		if err != nil {
			return
		}
		q.signature = want
		if at, err := q.verify(testSecret); err != nil || at != signed {
			t.Fatal(at, err)
		}
		if !maps.Equal(before, q.params) {
			t.Fatal("signing changed the request")
		}
	})
}

func FuzzVerifyS3(f *testing.F) {
	f.Add(base64.URLEncoding.EncodeToString([]byte("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\nx")), "x")
	f.Add("R0VU", "")
	f.Fuzz(func(t *testing.T, token, signature string) {
		if verifyS3(token, signature, "no such secret") == nil {
			t.Fatal("a signature by chance")
		}
	})
}
