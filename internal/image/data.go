package image

import (
	"context"
	"crypto/md5" //nolint:gosec // the API's checksum is MD5; os_hash_value is what vouches for the data
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/imagefmt"
)

// hashAlgo is the algorithm of os_hash_value.
const hashAlgo = "sha512"

// digest is what is known of data that has been received.
type digest struct {
	size        int64
	md5, sha512 string
}

// upload receives an image's data. The token is checked when the request starts; how long the body takes does not matter.
func (s *Service) upload(ctx context.Context, r *api.Request, in *api.Stream) (api.None, error) {
	if media, _, _ := strings.Cut(in.ContentType, ";"); strings.TrimSpace(media) != "application/octet-stream" {
		r.Asked()
		return api.None{}, webob.Plain(http.StatusUnsupportedMediaType)
	}
	if want := r.HTTP.Header.Get("X-Image-Meta-Store"); want != "" && want != storeName {
		r.Asked()
		return api.None{}, fault.BadRequest("Unknown scheme '%s' found in URI", want)
	}
	id, up := r.Path("image_id"), uuid.NewString()
	img, err := s.startUpload(ctx, r, id, up)
	if err != nil {
		return api.None{}, err
	}
	// From here on the image is saving: whatever happens it must leave that status, even if the client is gone.
	done := context.WithoutCancel(ctx)
	r.TakeYourTime()
	d, virtual, err := s.receive(in, img, up)
	if err == nil {
		err = s.completeUpload(done, img, up, d, virtual)
	}
	if err == nil {
		return api.None{}, nil
	}
	return api.None{}, s.undoUpload(done, r, id, up, err)
}

// undoUpload returns the image to the queue and removes what was received. It returns why, or nil when the image has become active all the same: a
// commit whose answer was lost.
func (s *Service) undoUpload(ctx context.Context, r *api.Request, id, up string, why error) error {
	// The half-received data first: it may be what fills the disk, which the database may be on, too.
	left := s.files.remove(id, up+partSuffix)
	active := false
	if err := s.db.Write(ctx, func(tx *db.Tx) (err error) {
		active, err = abortUpload(tx, id, up)
		return err
	}); err != nil {
		r.Log.Error("an image is left in saving until the next start", "image", id, "error", err)
		return why // whether a record names the data is not known
	}
	if active {
		return nil
	}
	if err := errors.Join(left, s.files.remove(id, up)); err != nil {
		r.Log.Error("data of a broken upload is left over until the next start", "image", id, "error", err)
	}
	return why
}

// startUpload moves the image from queued to saving.
func (s *Service) startUpload(ctx context.Context, r *api.Request, id, up string) (Image, error) {
	var img Image
	err := s.db.Write(ctx, func(tx *db.Tx) (err error) {
		if err := lockImage(tx, id); err != nil {
			return err
		}
		if img, err = s.known(tx, r, id); err != nil {
			return err
		}
		if err := enforce(r, "upload_image", img); err != nil {
			return err
		}
		if img.Status != Queued {
			return fault.Conflict("Image status transition from %s to saving is not allowed", img.Status)
		}
		var missing []string
		if img.DiskFormat == nil {
			missing = append(missing, "disk_format")
		}
		if img.ContainerFormat == nil {
			missing = append(missing, "container_format")
		}
		if len(missing) > 0 {
			word := map[int]string{1: "Property", 2: "Properties"}[len(missing)]
			return fault.BadRequest("%s %s must be set prior to saving data.", word, strings.Join(missing, ", "))
		}
		ok, err := beginUpload(tx, id, up, s.files.id)
		if err == nil && !ok {
			err = fmt.Errorf("image %s left the queue while its row was locked", id)
		}
		return err
	})
	return img, err
}

// partSuffix marks data that is still being received.
const partSuffix = ".part"

// receive writes the body to the upload's file, hashing as it goes, and returns when the file is durable under its final name.
func (s *Service) receive(in *api.Stream, img Image, up string) (digest, *int64, error) {
	part := s.files.path(img.ID, up+partSuffix)
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return digest{}, nil, storageFault(err)
	}
	d, err := copyHashed(f, in.Body, s.o.SizeLimit)
	var virtual *int64
	if err == nil {
		virtual, err = inspect(f, img, d.size)
	}
	if err == nil {
		err = storageFault(f.Sync())
	}
	if e := f.Close(); err == nil {
		err = storageFault(e)
	}
	if err == nil {
		err = os.Rename(part, s.files.path(img.ID, up))
	}
	if err == nil {
		err = syncDir(s.files.dir)
	}
	return d, virtual, err
}

// copyHashed copies at most limit bytes with one fixed buffer.
func copyHashed(w io.Writer, body io.Reader, limit int64) (digest, error) {
	var d digest
	m, h := md5.New(), sha512.New() //nolint:gosec // see above
	hashes := []hash.Hash{m, h}
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			d.size += int64(n)
			if d.size > limit {
				return d, fault.New(http.StatusRequestEntityTooLarge, "", "The incoming image is too large: The provided image is too large.")
			}
			for _, x := range hashes {
				_, _ = x.Write(buf[:n]) // a hash takes everything
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return d, storageFault(err)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return d, fault.BadRequest("The upload broke off after %d bytes.", d.size).Because(err)
		}
	}
	d.md5, d.sha512 = hex.EncodeToString(m.Sum(nil)), hex.EncodeToString(h.Sum(nil))
	return d, nil
}

// storageFault words a failure of the data folder.
func storageFault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.New(http.StatusRequestEntityTooLarge, "", "Image storage media is full: There is not enough disk space on the image storage media.").Because(err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.New(http.StatusServiceUnavailable, "", "Insufficient permissions on image storage media: Permission to write image storage media denied.").Because(err)
	}
	return err
}

// inspectable are the formats that upstream's inspector knows (oslo_utils.imageutils.format_inspector, ALL_FORMATS).
var inspectable = []string{"raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "qed", "iso", "gpt", "luks"}

// inspect compares the data with the declared format, for bare images only, and tells the virtual size where the data does
// (glance/location.py, set_data). A mismatch is a 415, and the image returns to the queue.
func inspect(f *os.File, img Image, size int64) (*int64, error) {
	if *img.ContainerFormat != "bare" {
		return nil, nil
	}
	invalid := func(format string, args ...any) error {
		return &fault.Error{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf(format, args...)}
	}
	declared := *img.DiskFormat
	info, err := imagefmt.InspectReader(f)
	if err != nil && declared != imagefmt.Raw {
		return nil, invalid("Image failed safety checks: %s", err)
	}
	switch {
	case declared == imagefmt.Raw:
		return &size, nil // whatever it looks like, it is opened as raw bytes
	case info.Format == declared:
	case info.Format == imagefmt.Raw && !slices.Contains(inspectable, declared):
		return nil, nil // kernels and the like have no signature
	default:
		return nil, invalid("Image disk_format %s does not match stream data %s", declared, info.Format)
	}
	if declared == imagefmt.QCOW2 {
		if err := info.Check(declared); err != nil {
			return nil, invalid("Image failed safety checks: %s", err)
		}
		return &info.QCOW2.VirtualSize, nil
	}
	if declared == imagefmt.ISO {
		return &size, nil
	}
	return nil, nil
}

// completeUpload makes the image active.
func (s *Service) completeUpload(ctx context.Context, img Image, up string, d digest, virtual *int64) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		ok, err := finishUpload(tx, img.ID, up, d, virtual)
		if err != nil {
			return err
		}
		if !ok {
			return fault.New(http.StatusGone, "", "Image %s could not be found after upload. The image may have been deleted during the upload, cleaning up the chunks uploaded.", img.ID)
		}
		return emit(ctx, tx, img, "update")
	})
}

// recover brings records and files together after a crash: images that this folder's process was saving return to the queue, and
// files that no image names are removed.
func (s *Service) recover(ctx context.Context) error {
	named := map[string]bool{"store-id": true}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		type upload struct{ id, up string }
		broken, err := db.All(tx, func(r db.Row) (u upload, err error) { return u, r.Scan(&u.id, &u.up) },
			`SELECT id, upload FROM images WHERE store = $1 AND status = 'saving'`, s.files.id)
		if err != nil {
			return err
		}
		for _, u := range broken {
			if _, err := abortUpload(tx, u.id, u.up); err != nil {
				return err
			}
			s.log.Warn("an upload was interrupted by a stop; the image is queued again", "image", u.id)
		}
		return tx.Each(func(r db.Row) error {
			var id, up string
			err := r.Scan(&id, &up)
			named[id+"."+up] = true
			return err
		}, `SELECT id, upload FROM images WHERE store = $1 AND upload <> ''`, s.files.id)
	})
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.files.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if named[e.Name()] || e.IsDir() {
			continue
		}
		if err := os.Remove(s.files.dir + "/" + e.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		s.log.Warn("removed data that belongs to no image", "file", e.Name())
	}
	return nil
}
