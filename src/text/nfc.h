/* nfc.h: Unicode's normal form C. */
#ifndef RK_TEXT_NFC_H
#define RK_TEXT_NFC_H

#include "base/buf.h"

enum { RK_NFC_GROWTH = 3 }; /* a text grows to at most so many times its bytes */

/* Bytes at the front of a text that rk_nfc_add would leave as they are. */
size_t rk_nfc_settled(const unsigned char *text, size_t n);
/* Append the text in normal form C; what is not UTF-8 becomes U+FFFD, as it does in decoding. */
void rk_nfc_add(rk_buf *out, const unsigned char *text, size_t n);

#endif
