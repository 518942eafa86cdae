/* Passes over the pixels of 8-bit photographs, and over the luma of films, compiled.

Each does in one pass, in the processor's registers, what numpy does in many, and gives the same result bit for
bit: the operations are the same, of the same types, in the same order. Compile with -ffp-contract=off, so that
no product and sum become one operation with one rounding. `compiled.py` calls them and says what they take. */

#include <stddef.h>
#include <stdint.h>

#if !defined(RAVE_ONE_VARIANT) && defined(__GNUC__) && defined(__x86_64__) && defined(__gnu_linux__)
#define VARIANTS __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define VARIANTS
#endif

/* Before a loop each turn of which touches values of its own: it may write where it reads. */
#if defined(__clang__)
#define TURNS_ARE_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define TURNS_ARE_INDEPENDENT _Pragma("GCC ivdep")
#else
#define TURNS_ARE_INDEPENDENT
#endif

#if defined(__GNUC__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE inline
#endif

#define BLOCK_PX 8

static inline float least(float a, float b) { return a < b ? a : b; }
static inline float greatest(float a, float b) { return a > b ? a : b; }

/* Raised when a pass takes other arguments: `compiled.py` uses no passes of another version. */
int rave_version(void) { return 3; }

/* Adds rows of bytes, column by column. */
VARIANTS static void add_rows(const uint8_t *rows, ptrdiff_t count, ptrdiff_t stride, ptrdiff_t length,
                              uint16_t *restrict sums)
{
    for (ptrdiff_t i = 0; i < length; i++)
        sums[i] = rows[i];
    for (ptrdiff_t row = 1; row < count; row++) {
        const uint8_t *restrict values = rows + row * stride;
        for (ptrdiff_t i = 0; i < length; i++)
            sums[i] = (uint16_t)(sums[i] + values[i]);
    }
}

/* 2^24 / divisor, as Pillow rounds it. */
static uint32_t reciprocal(ptrdiff_t divisor)
{
    float quotient = 4294967296.0f / (float)(256 * divisor);
    return (uint32_t)quotient;
}

/* Means over boxes of pixels, rounded as Pillow's Image.reduce rounds. Boxes at the right and at the bottom
may be smaller. A pixel's values are the first three of `step` bytes. `sums` is memory for step * width values. */
void rave_box_means(const uint8_t *pixels, ptrdiff_t step, ptrdiff_t height, ptrdiff_t width, ptrdiff_t across,
                    ptrdiff_t down, uint8_t *boxes, uint16_t *sums)
{
    for (ptrdiff_t top = 0; top < height; top += down) {
        ptrdiff_t rows = down < height - top ? down : height - top;
        add_rows(pixels + top * width * step, rows, width * step, width * step, sums);
        uint32_t factor = reciprocal(rows * across), half = (uint32_t)(rows * across / 2);
        for (ptrdiff_t left = 0; left < width; left += across) {
            ptrdiff_t columns = across < width - left ? across : width - left;
            if (columns < across) {
                factor = reciprocal(rows * columns);
                half = (uint32_t)(rows * columns / 2);
            }
            uint32_t red = half, green = half, blue = half;
            for (const uint16_t *sum = sums + left * step, *end = sum + columns * step; sum < end; sum += step) {
                red += sum[0];
                green += sum[1];
                blue += sum[2];
            }
            *boxes++ = (uint8_t)((red * factor) >> 24);
            *boxes++ = (uint8_t)((green * factor) >> 24);
            *boxes++ = (uint8_t)((blue * factor) >> 24);
        }
    }
}

/* Sums of the values of each block in a row of blocks, of whose pixels the columns are summed already: [across, 4].
A sum of 64 bytes fits into 16 bits. */
VARIANTS static void add_columns(const uint16_t *restrict columns, ptrdiff_t step, ptrdiff_t across,
                                 uint16_t *restrict sums)
{
    if (step == 4) {
        for (ptrdiff_t block = 0; block < across; block++) {
            const uint16_t *restrict from = columns + block * 4 * BLOCK_PX;
            uint16_t half[16];
            for (int i = 0; i < 16; i++)
                half[i] = (uint16_t)(from[i] + from[i + 16]);
            for (int i = 0; i < 8; i++)
                half[i] = (uint16_t)(half[i] + half[i + 8]);
            for (int i = 0; i < 4; i++)
                sums[4 * block + i] = (uint16_t)(half[i] + half[i + 4]);
        }
    } else {
        for (ptrdiff_t block = 0; block < across; block++)
            for (int channel = 0; channel < 3; channel++) {
                unsigned sum = 0;
                for (int i = 0; i < BLOCK_PX; i++)
                    sum += columns[(block * BLOCK_PX + i) * step + channel];
                sums[4 * block + channel] = (uint16_t)sum;
            }
    }
}

VARIANTS static void weigh_sums(const uint16_t *restrict sums, ptrdiff_t across, const float *restrict weights,
                                float *restrict means)
{
    for (ptrdiff_t block = 0; block < across; block++)
        means[block] = (float)sums[4 * block] * weights[0] + (float)sums[4 * block + 1] * weights[1] +
                       (float)sums[4 * block + 2] * weights[2];
}

/* Means of luma and of both values of chroma over blocks of 8 x 8 pixels, as planes that lie `plane` values apart.

pixels, step, stride  the first pixel, whose values are the first three of `step` bytes, and bytes from row to row.
weights               [3, 3]: what a sum of red, green and blue over a block counts in each mean.
sums                  memory for 8 * step * across values, and 4 * across more. */
void rave_block_means(const uint8_t *pixels, ptrdiff_t step, ptrdiff_t stride, ptrdiff_t down, ptrdiff_t across,
                      const float *weights, ptrdiff_t plane, float *means, uint16_t *sums)
{
    uint16_t *blocks = sums + 8 * step * across;
    for (ptrdiff_t row = 0; row < down; row++) {
        add_rows(pixels + row * BLOCK_PX * stride, BLOCK_PX, stride, across * BLOCK_PX * step, sums);
        add_columns(sums, step, across, blocks);
        for (int i = 0; i < 3; i++)
            weigh_sums(blocks, across, weights + 3 * i, means + i * plane + row * across);
    }
}

/* Blocks to each side over which colours are averaged. */
#define REACH 2

/* Adds to one row of shifts the differences of chroma to a row of blocks, over two blocks to each side, the less the
larger they are. `blue` and `red` are of the row of shifts, `blue_around` and `red_around` begin two blocks before. */
VARIANTS static void add_differences(const float *restrict blue, const float *restrict red,
                                     const float *restrict blue_around, const float *restrict red_around,
                                     ptrdiff_t columns, float per_square, float *restrict blue_shift,
                                     float *restrict red_shift)
{
    for (ptrdiff_t x = 0; x < columns; x++) {
        float over_blue = blue_shift[x], over_red = red_shift[x];
        for (int i = 0; i < 2 * REACH + 1; i++) {
            float b = blue_around[x + i] - blue[x], r = red_around[x + i] - red[x];
            float weight = greatest(1.0f - (b * b + r * r) * per_square, 0.0f);
            over_blue += b * weight;
            over_red += r * weight;
        }
        blue_shift[x] = over_blue;
        red_shift[x] = over_red;
    }
}

/* The mean difference of the blocks around each block to its colour: see chroma.py.

chroma          [2, down + 2 * REACH, across + 2 * REACH]: the colours of these blocks and those around them.
per_square      1 / the square of the difference from which on a colour is another one.
shift           [2, down, across]. */
void rave_mean_shift(const float *chroma, ptrdiff_t down, ptrdiff_t across, float per_square, float *shift)
{
    const float share = 1.0f / ((2 * REACH + 1) * (2 * REACH + 1));
    ptrdiff_t columns = across + 2 * REACH, plane = (down + 2 * REACH) * columns;
    for (ptrdiff_t i = 0; i < 2 * down * across; i++)
        shift[i] = 0.0f;
    for (ptrdiff_t y = 0; y < down; y++) {
        const float *around = chroma + y * columns, *blue = around + REACH * columns + REACH;
        for (int i = 0; i < 2 * REACH + 1; i++, around += columns)
            add_differences(blue, blue + plane, around, around + plane, across, per_square, shift + y * across,
                            shift + (down + y) * across);
    }
    for (ptrdiff_t i = 0; i < 2 * down * across; i++)
        shift[i] *= share;
}

/* Rows or columns whose sums run side by side. */
#define LANES 8

/* Means of LANES rows at once, over windows that reach `radius` to each side, less at the ends: `values` and
`means` are [length, LANES], and `sums` is memory for [length + 1, LANES]. */
VARIANTS static void means_of_lanes(const float *restrict values, ptrdiff_t length, ptrdiff_t radius,
                                    double *restrict sums, float *restrict means)
{
    double sum[LANES] = {0.0};
    for (int lane = 0; lane < LANES; lane++)
        sums[lane] = 0.0;
    for (ptrdiff_t i = 0; i < length; i++)
        for (int lane = 0; lane < LANES; lane++)
            sums[(i + 1) * LANES + lane] = sum[lane] += (double)values[i * LANES + lane];
    for (ptrdiff_t i = 0; i < length; i++) {
        ptrdiff_t start = i > radius ? i - radius : 0;
        ptrdiff_t stop = i + radius + 1 < length ? i + radius + 1 : length;
        double count = (double)(stop - start);
        for (int lane = 0; lane < LANES; lane++)
            means[i * LANES + lane] = (float)((sums[stop * LANES + lane] - sums[start * LANES + lane]) / count);
    }
}

/* Copies `used` lines of `length` values into lanes: [length, LANES], of which the others are zero. A line's
values are `step` apart, and the lines `stride`. */
static void into_lanes(const float *lines, ptrdiff_t step, ptrdiff_t stride, ptrdiff_t used, ptrdiff_t length,
                       float *restrict lanes)
{
    for (ptrdiff_t i = 0; i < length; i++)
        for (ptrdiff_t lane = 0; lane < LANES; lane++)
            lanes[i * LANES + lane] = lane < used ? lines[i * step + lane * stride] : 0.0f;
}

static void out_of_lanes(const float *restrict lanes, ptrdiff_t used, ptrdiff_t length, float *lines,
                         ptrdiff_t step, ptrdiff_t stride)
{
    for (ptrdiff_t i = 0; i < length; i++)
        for (ptrdiff_t lane = 0; lane < used; lane++)
            lines[i * step + lane * stride] = lanes[i * LANES + lane];
}

/* Means of each plane of [planes, height, width] over square windows that reach `radius` to each side, less at the
borders: along rows first. For the longer side, `lanes` is memory for 16 times as many values, and `sums` for 8
times as many and 8 more. */
void rave_window_means(const float *values, ptrdiff_t planes, ptrdiff_t height, ptrdiff_t width, ptrdiff_t radius,
                       float *means, float *lanes, double *sums)
{
    ptrdiff_t longer = height > width ? height : width;
    float *turned = lanes + LANES * longer;
    for (ptrdiff_t row = 0; row < planes * height; row += LANES) {
        ptrdiff_t used = LANES < planes * height - row ? LANES : planes * height - row;
        into_lanes(values + row * width, 1, width, used, width, lanes);
        means_of_lanes(lanes, width, radius, sums, turned);
        out_of_lanes(turned, used, width, means + row * width, 1, width);
    }
    for (ptrdiff_t plane = 0; plane < planes; plane++) {
        for (ptrdiff_t column = 0; column < width; column += LANES) {
            ptrdiff_t used = LANES < width - column ? LANES : width - column;
            float *corner = means + plane * height * width + column;
            into_lanes(corner, width, 1, used, height, lanes);
            means_of_lanes(lanes, height, radius, sums, turned);
            out_of_lanes(turned, used, height, corner, width, 1);
        }
    }
}

/* Rows interpolated between their values: [rows, length] to [rows, width]. `left` and `share` are, for each of
the width, which value is to its left, and the share of the one to its right. */
VARIANTS void rave_widen(const float *values, ptrdiff_t rows, ptrdiff_t length, ptrdiff_t width,
                         const int64_t *restrict left, const float *restrict share, float *wide)
{
    for (ptrdiff_t row = 0; row < rows; row++) {
        const float *restrict from = values + row * length;
        float *restrict to = wide + row * width;
        for (ptrdiff_t x = 0; x < width; x++)
            to[x] = (from[left[x] + 1] - from[left[x]]) * share[x] + from[left[x]];
    }
}

/* The gain of a pixel, from its divisor and its brightest value in [0, 1]. */
static ALWAYS_INLINE float gain_of(float divisor, float brightest, float knee, float steepness)
{
    float limited = least(divisor, 1.0f);
    float bend_start = limited * knee;
    float above = brightest - bend_start;
    float rest = 1.0f - bend_start;
    float bent = (1.0f - limited) * greatest(above, 0.0f) * steepness;
    brightest += 1e-12f;
    float below = (limited * rest + bent) * brightest;
    float inverse = 1.0f / divisor;
    float excess = divisor > 1.0f ? inverse : 1.0f; /* limited / divisor, without a further division */
    float shoulder = (rest * brightest + bent * knee) / below * excess;
    return above > 0.0f ? shoulder : inverse;
}

/* One pixel's red, green and blue, in their lowest 24 bits, enhanced: the same layout. `a` and `b` are the
pixel's line, and the last three what is added to its values. */
static ALWAYS_INLINE uint32_t develop_pixel(int red, int green, int blue, float a, float b, float low, float high,
                                            float knee, float steepness, float red_added, float green_added,
                                            float blue_added)
{
    const float scale = 1.0f / 255.0f;
    float luma = (float)((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16);
    float divisor = least(greatest(a * luma + b, low), high);

    int largest = red > green ? red : green;
    largest = largest > blue ? largest : blue;
    float gain = gain_of(divisor, (float)largest * scale, knee, steepness);

    float r = least(greatest(((float)red + red_added) * gain, 0.0f), 255.0f) + 0.5f;
    float g = least(greatest(((float)green + green_added) * gain, 0.0f), 255.0f) + 0.5f;
    float v = least(greatest(((float)blue + blue_added) * gain, 0.0f), 255.0f) + 0.5f;
    return (uint32_t)(int)r | (uint32_t)(int)g << 8 | (uint32_t)(int)v << 16;
}

#define LINE_AT(x)                                                                                               \
    (slope[next + x] - slope[x]) * share + slope[x], (offset[next + x] - offset[x]) * share + offset[x]

/* One row of the normal way, of pixels of three bytes. `slope` and `offset` are two rows of the line each, the
second `next` values after the first; `added` are three rows of what is added to red, green and blue. */
VARIANTS static void develop_row(const uint8_t *pixels, uint8_t *out, ptrdiff_t width,
                                 const float *restrict slope, const float *restrict offset, ptrdiff_t next,
                                 float share, float low, float high, float knee, float steepness,
                                 const float *restrict red_added, const float *restrict green_added,
                                 const float *restrict blue_added)
{
    TURNS_ARE_INDEPENDENT
    for (ptrdiff_t x = 0; x < width; x++) {
        uint32_t pixel = develop_pixel(pixels[3 * x], pixels[3 * x + 1], pixels[3 * x + 2], LINE_AT(x), low, high,
                                       knee, steepness, red_added[x], green_added[x], blue_added[x]);
        out[3 * x] = (uint8_t)pixel;
        out[3 * x + 1] = (uint8_t)(pixel >> 8);
        out[3 * x + 2] = (uint8_t)(pixel >> 16);
    }
}

/* The same for pixels of four bytes, on processors that keep the lowest byte first. The fourth stays. */
VARIANTS static void develop_wide_row(const uint32_t *pixels, uint32_t *out, ptrdiff_t width,
                                      const float *restrict slope, const float *restrict offset, ptrdiff_t next,
                                      float share, float low, float high, float knee, float steepness,
                                      const float *restrict red_added, const float *restrict green_added,
                                      const float *restrict blue_added)
{
    TURNS_ARE_INDEPENDENT
    for (ptrdiff_t x = 0; x < width; x++) {
        uint32_t pixel = pixels[x];
        int red = pixel & 255, green = pixel >> 8 & 255, blue = pixel >> 16 & 255;
        out[x] = (pixel & 0xff000000u) | develop_pixel(red, green, blue, LINE_AT(x), low, high, knee, steepness,
                                                       red_added[x], green_added[x], blue_added[x]);
    }
}

/* Bytes of pixels in another tone curve, by a table. */
void rave_look_up(const uint8_t *values, ptrdiff_t count, const uint8_t *table, uint8_t *results)
{
    for (ptrdiff_t i = 0; i < count; i++)
        results[i] = table[values[i]];
}

/* Pixels of another tone curve that are developed at a time: their values stay in the cache. */
#define CHUNK_PX 512

/* Values in [0, 1] of sRGB's encoding, enhanced: `red`, `green` and `blue` become places in a table of 65536. The
other arguments are those of `develop_row`. */
VARIANTS static void develop_values(float *restrict red, float *restrict green, float *restrict blue,
                                    const float *restrict luma, ptrdiff_t width, const float *restrict slope,
                                    const float *restrict offset, ptrdiff_t next, float share, float low, float high,
                                    float knee, float steepness, const float *restrict red_added,
                                    const float *restrict green_added, const float *restrict blue_added)
{
    for (ptrdiff_t x = 0; x < width; x++) {
        float a = (slope[next + x] - slope[x]) * share + slope[x];
        float b = (offset[next + x] - offset[x]) * share + offset[x];
        float divisor = least(greatest(a * luma[x] + b, low), high);
        float gain = gain_of(divisor, greatest(greatest(red[x], green[x]), blue[x]), knee, steepness);
        red[x] = least(greatest((red[x] + red_added[x]) * gain, 0.0f), 1.0f) * 65535.0f;
        green[x] = least(greatest((green[x] + green_added[x]) * gain, 0.0f), 1.0f) * 65535.0f;
        blue[x] = least(greatest((blue[x] + blue_added[x]) * gain, 0.0f), 1.0f) * 65535.0f;
    }
}

/* A tone curve that is not sRGB's. */
struct curve {
    const uint8_t *guide; /* the pixels in sRGB's curve, laid out like them */
    const float *encode;  /* for each of 256 bytes, its value in sRGB's encoding */
    const uint8_t *decode; /* for 65536 steps of sRGB's encoding, the byte */
};

/* The same as `develop_row` for pixels of another tone curve, of `step` bytes each. */
static void develop_curved_row(const uint8_t *pixels, uint8_t *out, ptrdiff_t step, ptrdiff_t width,
                               struct curve curve, const float *slope, const float *offset, ptrdiff_t next,
                               float share, float low, float high, float knee, float steepness,
                               const float *red_added, const float *green_added, const float *blue_added)
{
    float red[CHUNK_PX], green[CHUNK_PX], blue[CHUNK_PX], luma[CHUNK_PX];
    for (ptrdiff_t left = 0; left < width; left += CHUNK_PX) {
        ptrdiff_t count = CHUNK_PX < width - left ? CHUNK_PX : width - left;
        const uint8_t *from = pixels + left * step, *guide = curve.guide + left * step;
        for (ptrdiff_t x = 0; x < count; x++, from += step, guide += step) {
            red[x] = curve.encode[from[0]];
            green[x] = curve.encode[from[1]];
            blue[x] = curve.encode[from[2]];
            luma[x] = (float)((guide[0] * 19595 + guide[1] * 38470 + guide[2] * 7471 + 0x8000) >> 16);
        }
        develop_values(red, green, blue, luma, count, slope + left, offset + left, next, share, low, high, knee,
                       steepness, red_added + left, green_added + left, blue_added + left);
        uint8_t *to = out + left * step;
        for (ptrdiff_t x = 0; x < count; x++, to += step) {
            to[0] = curve.decode[(int)red[x]];
            to[1] = curve.decode[(int)green[x]];
            to[2] = curve.decode[(int)blue[x]];
        }
    }
}

/* Rows of the normal way, from its first row of blocks.

pixels, out   [rows, width, step], of which the first three bytes are a pixel's values; may be the same.
line          [2, lines, width]: slope per value of luma and offset, already as wide as the picture.
upper, share  [rows]: the line above each row, and the share of the one below.
added         [3, blocks, across], or 0: what is added to the pixels of each block, in values of a pixel, or
              in [0, 1] with another curve. Rows and columns beyond the last block are given what the last one
              is given.
wide          memory for 3 * width values.
guide, encode, decode  as in `struct curve`; 0 for pixels in sRGB's curve. */
void rave_develop(const uint8_t *pixels, uint8_t *out, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t width,
                  const float *line, ptrdiff_t lines, const int64_t *upper, const float *share, float low,
                  float high, float knee, float steepness, const float *added, ptrdiff_t blocks,
                  ptrdiff_t across, float *wide, const uint8_t *guide, const float *encode, const uint8_t *decode)
{
    for (ptrdiff_t i = 0; i < 3 * width; i++)
        wide[i] = 0.0f;
    for (ptrdiff_t row = 0; row < rows; row++) {
        ptrdiff_t block = row / BLOCK_PX;
        if (added && row % BLOCK_PX == 0 && block < blocks) {
            for (ptrdiff_t channel = 0; channel < 3; channel++) {
                const float *values = added + (channel * blocks + block) * across;
                float *target = wide + channel * width;
                for (ptrdiff_t column = 0; column < across; column++)
                    for (int i = 0; i < BLOCK_PX; i++)
                        target[column * BLOCK_PX + i] = values[column];
                for (ptrdiff_t x = across * BLOCK_PX; x < width; x++)
                    target[x] = values[across - 1];
            }
        }
        const float *slope = line + upper[row] * width, *offset = slope + lines * width;
        const uint8_t *from = pixels + row * width * step;
        uint8_t *to = out + row * width * step;
        if (encode) {
            struct curve curve = {guide + row * width * step, encode, decode};
            develop_curved_row(from, to, step, width, curve, slope, offset, width, share[row], low, high, knee,
                               steepness, wide, wide + width, wide + 2 * width);
        } else if (step == 4)
            develop_wide_row((const uint32_t *)from, (uint32_t *)to, width, slope, offset, width, share[row], low,
                             high, knee, steepness, wide, wide + width, wide + 2 * width);
        else
            develop_row(from, to, width, slope, offset, width, share[row], low, high, knee, steepness, wide,
                        wide + width, wide + 2 * width);
    }
}

/* One row of luma divided by its light: `luma` in [0, 1] becomes the divisor in `divisor` and the lifted luma,
from -1 to 1, in `lifted`. With a knee of 0 or less, highlights are clipped. Luma above white is not lifted. */
VARIANTS static void divide_row(const float *restrict luma, float *restrict divisor, float *restrict lifted,
                                ptrdiff_t width, const float *restrict slope, const float *restrict offset,
                                ptrdiff_t next, float share, float low, float high, float least_light, float knee)
{
    for (ptrdiff_t x = 0; x < width; x++) {
        float a = (slope[next + x] - slope[x]) * share + slope[x];
        float b = (offset[next + x] - offset[x]) * share + offset[x];
        float light = greatest(least(greatest(a * luma[x] + b, low), high), least_light);
        float value = luma[x] / light;
        float limited = least(light, 1.0f);
        float bend = (1.0f - limited) / ((limited * -knee + 1.0f) * (1.0f - knee));
        float over = value - knee;
        float rolled = over / (bend * over + 1.0f) + knee;
        value = knee > 0.0f && value > knee ? rolled : value;
        divisor[x] = light;
        value = least(greatest(value, -1.0f), greatest(luma[x], 1.0f));
        lifted[x] = luma[x] > 1.0f && light < 1.0f ? luma[x] : value;
    }
}

/* Sums over the pixels that share a value of chroma; a last odd column counts twice. */
static void add_pixels(const float *restrict above, const float *restrict below, ptrdiff_t width,
                       ptrdiff_t across, ptrdiff_t down, float *restrict sums)
{
    ptrdiff_t count = (width + across - 1) / across;
    for (ptrdiff_t i = 0; i < count; i++) {
        ptrdiff_t left = i * across, right = left + 1 < width ? left + 1 : left;
        float first = down == 2 ? above[left] + below[left] : above[left];
        float second = down == 2 ? above[right] + below[right] : above[right];
        sums[i] = across == 2 ? first + second : first;
    }
}

VARIANTS static void load_row(const void *row, int bytes, ptrdiff_t width, float black, float scale,
                              float *restrict luma)
{
    if (bytes == 1)
        for (ptrdiff_t x = 0; x < width; x++)
            luma[x] = ((float)((const uint8_t *)row)[x] - black) * scale;
    else
        for (ptrdiff_t x = 0; x < width; x++)
            luma[x] = ((float)((const uint16_t *)row)[x] - black) * scale;
}

VARIANTS static void store_row(const float *restrict lifted, int bytes, ptrdiff_t width, float span, float lift,
                               float top, void *row)
{
    if (bytes == 1)
        for (ptrdiff_t x = 0; x < width; x++)
            ((uint8_t *)row)[x] = (uint8_t)(int)least(greatest(lifted[x] * span + lift, 0.0f), top);
    else
        for (ptrdiff_t x = 0; x < width; x++)
            ((uint16_t *)row)[x] = (uint16_t)(int)least(greatest(lifted[x] * span + lift, 0.0f), top);
}

/* Rows of a film's luma divided by their light, in place; the first row is the first of a row of chroma.

plane, stride   the first row, of 1 or 2 `bytes` a value, and the bytes from row to row.
values          black, 1 / span, span, black + 0.5, and the greatest value.
line            [2, lines, width], as for rave_develop, over luma in [0, 1].
bounds          the least and greatest light, the least of all light, the knee.
before, after   [ceil(rows / down), ceil(width / across)]: sums of luma and of lifted luma.
shade           the same shape: the divisor at the first of the pixels.
rows_of_floats  memory for 6 * width values. */
void rave_divide_luma(uint8_t *plane, ptrdiff_t stride, int bytes, ptrdiff_t rows, ptrdiff_t width,
                      const float *values, const float *line, ptrdiff_t lines, const int64_t *upper,
                      const float *share, const float *bounds, ptrdiff_t across, ptrdiff_t down, float *before,
                      float *after, float *shade, float *rows_of_floats)
{
    ptrdiff_t count = (width + across - 1) / across;
    for (ptrdiff_t top = 0; top < rows; top += down) {
        ptrdiff_t here = down < rows - top ? down : rows - top;
        float *luma = rows_of_floats, *divisor = luma + 2 * width, *lifted = divisor + 2 * width;
        for (ptrdiff_t i = 0; i < here; i++) {
            const float *slope = line + upper[top + i] * width;
            uint8_t *row = plane + (top + i) * stride;
            load_row(row, bytes, width, values[0], values[1], luma + i * width);
            divide_row(luma + i * width, divisor + i * width, lifted + i * width, width, slope,
                       slope + lines * width, width, share[top + i], bounds[0], bounds[1], bounds[2], bounds[3]);
            store_row(lifted + i * width, bytes, width, values[2], values[3], values[4], row);
        }
        ptrdiff_t below = here == 2 ? width : 0; /* a last odd row counts twice */
        add_pixels(luma, luma + below, width, across, down, before);
        add_pixels(lifted, lifted + below, width, across, down, after);
        for (ptrdiff_t i = 0; i < count; i++)
            shade[i] = divisor[i * across];
        before += count;
        after += count;
        shade += count;
    }
}
