/* One step of AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on a CPU, over many tensors at once, its moments
 * kept in 8 bits: blocks of 256 values, each scaled by its largest, coded by dynamic trees (Dettmers et al. 2022,
 * arXiv 2110.02861). The states are laid out as bitsandbytes lays them out. pipeline/training/eight_bit.py calls it.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK = 256, CELL = 16 }; /* a cell: all floats that agree in all but their last 16 bits */

typedef struct {
    int64_t count, wide, narrow; /* wide: moments in float32 instead of codes; narrow: the gradient in bfloat16 */
    const void *gradient;
    float *weight;
    uint16_t *copy; /* the weight in bfloat16, or null */
    void *moment1, *moment2;
    float *scale1, *scale2; /* one for each block of codes */
    float keep, rate, root; /* 1 - lr * decay, lr / (1 - beta1^step), sqrt(1 - beta2^step) */
    float beta1, beta2, epsilon, scale; /* scale: of the gradient */
} Tensor;

/* How a moment is coded: the values, and for each cell the code of its lowest value (upper 16 bits) and how far into
 * the cell that code reaches (lower 16 bits): one look for each value.
 */
typedef struct {
    const float *values;
    const uint32_t *cells;
} Codes;

static void widen(const uint16_t *restrict in, int length, float *restrict out) {
    for (int i = 0; i < length; i++) {
        const uint32_t bits = (uint32_t)in[i] << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

/* The nearest bfloat16, to even where two are as near. */
static void narrow(const float *restrict in, int length, uint16_t *restrict out) {
    for (int i = 0; i < length; i++) {
        uint32_t bits;
        memcpy(&bits, in + i, sizeof bits);
        const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        out[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded); /* not a number */
    }
}

/* Gradients from `at` on in float32, in `space` where they are narrow. */
static const float *gradients(const Tensor *t, int64_t at, int length, float *space) {
    if (!t->narrow) return (const float *)t->gradient + at;
    widen((const uint16_t *)t->gradient + at, length, space);
    return space;
}

static void move(const Tensor *t, int64_t at, int length, float *restrict m, float *restrict v) {
    float space[BLOCK];
    const float *restrict gradient = gradients(t, at, length, space);
    float *restrict weight = t->weight + at;
    const float scale = t->scale;
    const float beta1 = t->beta1, beta2 = t->beta2, keep = t->keep, rate = t->rate, root = t->root, epsilon = t->epsilon;
    for (int i = 0; i < length; i++) {
        const float g = gradient[i] * scale;
        m[i] = m[i] * beta1 + g * (1 - beta1);
        v[i] = v[i] * beta2 + g * g * (1 - beta2);
        weight[i] = weight[i] * keep - rate * (m[i] / (sqrtf(v[i]) / root + epsilon));
    }
    if (t->copy) narrow(weight, length, t->copy + at);
}

static void decode(const uint8_t *restrict codes, float scale, const float *restrict values, int length,
                   float *restrict out) {
    int32_t places[BLOCK];
    for (int i = 0; i < length; i++) places[i] = codes[i];
    for (int i = 0; i < length; i++) out[i] = values[places[i]] * scale;
}

/* The nearest code of each value, relative to the largest of the block, which is returned. */
static float encode(const float *restrict in, const Codes *codes, int length, uint8_t *restrict out) {
    float largest = 0;
    for (int i = 0; i < length; i++) {
        const float size = fabsf(in[i]);
        largest = size > largest ? size : largest;
    }
    const float by = largest > 0 ? 1 / largest : 0;
    const uint32_t *restrict cells = codes->cells, mask = (1u << CELL) - 1;
    int32_t places[BLOCK];
    uint32_t inside[BLOCK]; /* how far into its cell a value lies; negative floats count downwards */
    for (int i = 0; i < length; i++) {
        const float value = in[i] * by;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        places[i] = (int32_t)(bits >> CELL);
        inside[i] = (bits ^ (uint32_t)((int32_t)bits >> 31)) & mask;
    }
    for (int i = 0; i < length; i++) {
        const uint32_t cell = cells[places[i]];
        inside[i] = (cell >> CELL) + (inside[i] > (cell & mask));
    }
    for (int i = 0; i < length; i++) out[i] = (uint8_t)inside[i];
    return largest;
}

static void step_block(const Tensor *t, int64_t b, int length, const Codes *signed_, const Codes *unsigned_) {
    const int64_t at = b * BLOCK;
    if (t->wide) {
        move(t, at, length, (float *)t->moment1 + at, (float *)t->moment2 + at);
        return;
    }
    uint8_t *code1 = (uint8_t *)t->moment1 + at, *code2 = (uint8_t *)t->moment2 + at;
    float m[BLOCK], v[BLOCK];
    decode(code1, t->scale1[b], signed_->values, length, m);
    decode(code2, t->scale2[b], unsigned_->values, length, v);
    move(t, at, length, m, v);
    t->scale1[b] = encode(m, signed_, length, code1);
    t->scale2[b] = encode(v, unsigned_, length, code2);
}

/* Sum of the squares of a block's gradients. */
static float square_block(const Tensor *t, int64_t b, int length) {
    enum { LANES = 16 };
    float space[BLOCK], lanes[LANES] = {0}, sum = 0;
    const float *gradient = gradients(t, b * BLOCK, length, space);
    int i = 0;
    for (; i + LANES <= length; i += LANES)
        for (int lane = 0; lane < LANES; lane++) lanes[lane] += gradient[i + lane] * gradient[i + lane];
    for (; i < length; i++) lanes[i % LANES] += gradient[i] * gradient[i];
    for (int lane = 0; lane < LANES; lane++) sum += lanes[lane];
    return sum;
}

/* Part `part` of `parts` of the work on all blocks of all tensors, which are shared out evenly. */
static void work(const Tensor *tensors, int64_t count, const Codes *signed_, const Codes *unsigned_, float *sums,
                 int64_t part, int64_t parts) {
    int64_t total = 0, passed = 0;
    for (int64_t n = 0; n < count; n++) total += (tensors[n].count + BLOCK - 1) / BLOCK;
    const int64_t from = total * part / parts, to = total * (part + 1) / parts;
    for (int64_t n = 0; n < count && passed < to; n++) {
        const Tensor *t = tensors + n;
        const int64_t blocks = (t->count + BLOCK - 1) / BLOCK;
        const int64_t first = from > passed ? from - passed : 0, last = to - passed < blocks ? to - passed : blocks;
        for (int64_t b = first; b < last; b++) {
            const int length = t->count - b * BLOCK < BLOCK ? (int)(t->count - b * BLOCK) : BLOCK;
            if (sums) sums[passed + b] = square_block(t, b, length);
            else step_block(t, b, length, signed_, unsigned_);
        }
        passed += blocks;
    }
}

/* Work on all blocks of all tensors, in `threads` threads; none depends on another. With `sums` (one for each block)
 * the squares of the gradients are summed up, without it the step is done.
 */
void adamw(const Tensor *tensors, int64_t count, const Codes *signed_, const Codes *unsigned_, float *sums,
           int64_t threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t part = 0; part < threads; part++) work(tensors, count, signed_, unsigned_, sums, part, threads);
}
