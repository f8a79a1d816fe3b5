/*
 * The only file that knows OpenSSL: 1.1.1 or 3.
 *
 * The socket is read and written by a BIO of our own, as OpenSSL's raises
 * SIGPIPE.  A context is not changed once it is made, but for the count of its
 * users, and so needs no lock.
 */
#include "config.h"

#include "redis/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct tls_context {
	atomic_int users;
	SSL_CTX *ssl;
	BIO_METHOD *method;
	const char *server_name; /* instead of the host's; NULL: none */
	bool has_cert;
};

struct tls {
	const struct tls_context *context;
	SSL *ssl;
	char name[URL_HOST_MAX]; /* what the server's certificate is for */
	bool is_address;
	int fd;
	int err;        /* of the socket: a negative errno */
	bool is_up;     /* the handshake is over, as far as we see */
	bool was_asked; /* for a certificate, and had none */
	char error[TLS_ERROR_MAX];
};

bool tls_is_there(void)
{
	return true;
}

/* === the socket ========================================================= */

static int bio_write(BIO *bio, const char *data, int length)
{
	struct tls *tls = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	do {
		n = send(tls->fd, data, (size_t)length, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (int)n;
	/* The server has gone; but why, may still be there to be read. */
	if (errno == EPIPE || errno == ECONNRESET)
		return length;
	if (errno == EAGAIN)
		BIO_set_retry_write(bio);
	else
		tls->err = -errno;
	return -1;
}

static int bio_read(BIO *bio, char *buffer, int size)
{
	struct tls *tls = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	do {
		n = recv(tls->fd, buffer, (size_t)size, 0);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (int)n;
	if (errno == EAGAIN)
		BIO_set_retry_read(bio);
	else
		tls->err = -errno;
	return -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *make_method(void)
{
	BIO_METHOD *method = BIO_meth_new(
		BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "cflock");

	if (method && (!BIO_meth_set_write(method, bio_write) ||
		       !BIO_meth_set_read(method, bio_read) ||
		       !BIO_meth_set_ctrl(method, bio_ctrl))) {
		BIO_meth_free(method);
		return NULL;
	}
	return method;
}

/* === the context ======================================================== */

/* OpenSSL would ask on the terminal. */
static int refuse_pass_phrase(char *buffer, int size, int writing, void *asked)
{
	(void)buffer;
	(void)size;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

/* The server asks for a certificate, and none is set. */
static int note_question(SSL *ssl, X509 **cert, EVP_PKEY **key)
{
	struct tls *tls = SSL_get_app_data(ssl);

	(void)cert;
	(void)key;
	tls->was_asked = true;
	return 0;
}

static const char *reason_of(unsigned long code)
{
	const char *reason = ERR_reason_error_string(code);

	return reason ? reason : "for an unknown reason";
}

static int refuse(char *error, const char *option, const char *file,
		  const char *why)
{
	snprintf(error, TLS_ERROR_MAX, "%s %.256s: %s", option, file, why);
	return -EACCES;
}

static int load_trust(SSL_CTX *ssl, const struct url_tls *settings, char *error)
{
	if (!settings->ca_file && !settings->ca_dir) {
		/* Without any, no certificate is trusted. */
		SSL_CTX_set_default_verify_paths(ssl);
		return 0;
	}
	if (settings->ca_file &&
	    !SSL_CTX_load_verify_locations(ssl, settings->ca_file, NULL))
		return refuse(error, "tls-ca-file", settings->ca_file,
			      "it cannot be read as certificates in PEM form");
	if (settings->ca_dir &&
	    !SSL_CTX_load_verify_locations(ssl, NULL, settings->ca_dir))
		return refuse(error, "tls-ca-dir", settings->ca_dir,
			      "it cannot be used");
	return 0;
}

static int load_cert(SSL_CTX *ssl, const struct url_tls *settings, char *error)
{
	const char *key = settings->key ? settings->key : settings->cert;
	const char *option = settings->key ? "tls-key" : "tls-cert";
	bool is_protected = false;
	bool is_good;

	if (!SSL_CTX_use_certificate_chain_file(ssl, settings->cert))
		return refuse(error, "tls-cert", settings->cert,
			      reason_of(ERR_peek_last_error()));
	SSL_CTX_set_default_passwd_cb(ssl, refuse_pass_phrase);
	SSL_CTX_set_default_passwd_cb_userdata(ssl, &is_protected);
	is_good = SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM);
	SSL_CTX_set_default_passwd_cb(ssl, NULL);
	SSL_CTX_set_default_passwd_cb_userdata(ssl, NULL);
	if (is_protected)
		return refuse(
			error, option, key,
			"the key is protected by a pass phrase, for which "
			"cflock cannot ask");
	if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
		return refuse(error, option, key,
			      "the key does not belong to the certificate");
	if (!is_good)
		return refuse(error, option, key,
			      "it cannot be read as a private key in PEM form");
	return 0;
}

static struct tls_context *allocate(void)
{
	struct tls_context *context = calloc(1, sizeof(*context));

	if (!context)
		return NULL;
	context->users = 1;
	context->ssl = SSL_CTX_new(TLS_client_method());
	context->method = make_method();
	if (context->ssl && context->method)
		return context;
	tls_context_drop(context);
	return NULL;
}

int tls_context_new(const struct url_tls *settings, struct tls_context **made,
		    char error[TLS_ERROR_MAX])
{
	uint64_t flags = OPENSSL_INIT_LOAD_CONFIG;
	struct tls_context *context = NULL;
	int err = -ENOMEM;

	/* What is left to be done at exit is not to be done by each process. */
#ifdef OPENSSL_INIT_NO_ATEXIT
	flags |= OPENSSL_INIT_NO_ATEXIT;
#endif
	if (OPENSSL_init_ssl(flags, NULL))
		context = allocate();
	if (!context) {
		snprintf(error, TLS_ERROR_MAX, "OpenSSL cannot be set up: %s",
			 reason_of(ERR_peek_error()));
		return err;
	}
	SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION);
	SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(context->ssl,
			 SSL_MODE_ENABLE_PARTIAL_WRITE |
				 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				 SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_client_cert_cb(context->ssl, note_question);
	context->server_name = settings->server_name;
	context->has_cert = settings->cert != NULL;

	ERR_clear_error();
	err = load_trust(context->ssl, settings, error);
	ERR_clear_error();
	if (!err && settings->cert)
		err = load_cert(context->ssl, settings, error);
	ERR_clear_error();
	if (err)
		tls_context_drop(context);
	else
		*made = context;
	return err;
}

struct tls_context *tls_context_share(struct tls_context *context)
{
	if (context)
		atomic_fetch_add(&context->users, 1);
	return context;
}

void tls_context_drop(struct tls_context *context)
{
	if (!context || atomic_fetch_sub(&context->users, 1) > 1)
		return;
	SSL_CTX_free(context->ssl);
	BIO_meth_free(context->method);
	free(context);
}

/* === why it failed ====================================================== */

static int fail_verify(struct tls *tls, long verdict)
{
	const char *name = tls->name;
	char *error = tls->error;

	switch (verdict) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		snprintf(error, TLS_ERROR_MAX,
			 "the server's certificate is not for \"%s\"; ask for "
			 "it by the name that it is for, in the URL or as "
			 "tls-server-name",
			 name);
		break;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		snprintf(error, TLS_ERROR_MAX,
			 "the server's certificate, or that of its CA, has "
			 "expired; it needs a new one, or is the clock here "
			 "wrong?");
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		snprintf(error, TLS_ERROR_MAX,
			 "the server's certificate is not valid yet; is the "
			 "clock here wrong?");
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		snprintf(error, TLS_ERROR_MAX,
			 "the server's certificate is not signed by a CA that "
			 "is trusted here (%s); name the certificate of its CA "
			 "as tls-ca-file",
			 X509_verify_cert_error_string(verdict));
		break;
	default:
		snprintf(error, TLS_ERROR_MAX,
			 "the server's certificate is refused: %s",
			 X509_verify_cert_error_string(verdict));
	}
	return -EACCES;
}

/* The server has sent an alert, or what it sends is no TLS. */
static int fail_by(struct tls *tls, unsigned long code)
{
	bool has_cert = tls->context->has_cert;
	const char *reason = reason_of(code);
	char *error = tls->error;

	switch (ERR_GET_REASON(code)) {
	case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
		/* So TLS 1.2 says, too, that a certificate is missing. */
		if (!tls->was_asked)
			break;
		/* fall through */
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
	case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		if (has_cert)
			snprintf(error, TLS_ERROR_MAX,
				 "the server does not accept the certificate "
				 "that is set as tls-cert (%s)",
				 reason);
		else
			snprintf(error, TLS_ERROR_MAX,
				 "the server asks for a certificate; set "
				 "tls-cert and tls-key");
		return -EACCES;
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
		snprintf(error, TLS_ERROR_MAX,
			 "the server does not speak TLS 1.2 or later");
		return -EPROTO;
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_PACKET_LENGTH_TOO_LONG:
	case SSL_R_HTTP_REQUEST:
		if (tls->is_up)
			break;
		snprintf(error, TLS_ERROR_MAX,
			 "what answers there does not speak TLS; is it a port "
			 "for redis://?");
		return -EPROTO;
	}
	snprintf(error, TLS_ERROR_MAX, "TLS failed: %s", reason);
	return -ECONNRESET;
}

/* The socket failed, or was closed without a word of TLS. */
static int fail_socket(struct tls *tls)
{
	const char *hint = "";

	if (tls->was_asked)
		hint = "; it asks for a certificate: set tls-cert and tls-key";
	if (tls->err && tls->err != -ECONNRESET) {
		snprintf(tls->error, TLS_ERROR_MAX, "%s", strerror(-tls->err));
		return tls->err;
	}
	snprintf(tls->error, TLS_ERROR_MAX,
		 "the server closed the connection%s%s",
		 tls->is_up ? "" : " during the TLS handshake", hint);
	return -ECONNRESET;
}

/* What a call of OpenSSL that returned `result` has come to. */
static int settle(struct tls *tls, int result, short *events)
{
	unsigned long code = ERR_peek_error();
	long verdict = SSL_get_verify_result(tls->ssl);
	int err;

	switch (SSL_get_error(tls->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		*events = POLLIN;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		*events = POLLOUT;
		return -EAGAIN;
	case SSL_ERROR_SSL:
		err = !tls->is_up && verdict != X509_V_OK
			      ? fail_verify(tls, verdict)
			      : fail_by(tls, code);
		break;
	default:
		err = fail_socket(tls);
	}
	ERR_clear_error();
	return err;
}

/* === a connection ======================================================= */

/*
 * The name without what certificates do not have: a zone, a last dot.  False
 * when none is left: OpenSSL would take any certificate then.
 */
static bool set_name(struct tls *tls, const char *name)
{
	struct in6_addr address;
	size_t length = strcspn(name, "%");

	if (length && name[length - 1] == '.')
		length--;
	snprintf(tls->name, sizeof(tls->name), "%.*s", (int)length, name);
	tls->is_address = inet_pton(AF_INET, tls->name, &address) == 1 ||
			  inet_pton(AF_INET6, tls->name, &address) == 1;
	return length > 0;
}

static bool set_up(struct tls *tls)
{
	BIO *bio = BIO_new(tls->context->method);
	X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);

	if (!bio)
		return false;
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	SSL_set_app_data(tls->ssl, tls);
	SSL_set_connect_state(tls->ssl);
	X509_VERIFY_PARAM_set_hostflags(param,
					X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	/* The name of a host is told to the server, too; an address is not. */
	if (tls->is_address)
		return X509_VERIFY_PARAM_set1_ip_asc(param, tls->name);
	return X509_VERIFY_PARAM_set1_host(param, tls->name, 0) &&
	       SSL_set_tlsext_host_name(tls->ssl, tls->name);
}

struct tls *tls_new(const struct tls_context *context, const char *host, int fd)
{
	const char *name = context->server_name ? context->server_name : host;
	struct tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return NULL;
	tls->context = context;
	tls->fd = fd;
	tls->ssl = SSL_new(context->ssl);
	if (tls->ssl && set_name(tls, name) && set_up(tls))
		return tls;
	ERR_clear_error();
	tls_free(tls);
	return NULL;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	SSL_free(tls->ssl);
	free(tls);
}

int tls_handshake(struct tls *tls, short *events)
{
	int result;

	ERR_clear_error();
	result = SSL_do_handshake(tls->ssl);
	if (result != 1)
		return settle(tls, result, events);
	tls->is_up = true;
	return 0;
}

ssize_t tls_send(struct tls *tls, const void *data, size_t length,
		 short *events)
{
	size_t sent;
	int result;

	ERR_clear_error();
	result = SSL_write_ex(tls->ssl, data, length, &sent);
	return result == 1 ? (ssize_t)sent : settle(tls, result, events);
}

ssize_t tls_receive(struct tls *tls, void *buffer, size_t size, short *events)
{
	size_t received;
	int result;

	ERR_clear_error();
	result = SSL_read_ex(tls->ssl, buffer, size, &received);
	return result == 1 ? (ssize_t)received : settle(tls, result, events);
}

const char *tls_error(const struct tls *tls)
{
	return tls->error;
}
