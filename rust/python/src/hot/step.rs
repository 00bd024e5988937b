//! "Steps": the methods that enter and leave a `with` block, implemented so that binding them allocates no memory.
//!
//! For every block, the interpreter binds the method that enters it and the method that leaves it. Binding a built-in
//! method creates an object that the garbage collector tracks; the two objects account for a third of an empty block's
//! cost. A step wraps such a method, takes its bound objects from a free list, and calls the method's C function
//! directly.

use std::ffi::{CStr, c_char, c_void};

use pyo3::{exceptions::PyTypeError, ffi, prelude::*, types::PyType};

use super::{
    free_list::FreeList,
    objects,
    raw::{Receiver, borrowed, guarded, guarded_quietly},
    tables::{self, RawType, Table},
};

static STEP: RawType = RawType::new();
static BOUND: RawType = RawType::new();

/// The definition of a step (a method that enters or leaves a `with` block), with a free list of bound steps.
pub struct Definition {
    method: Table<ffi::PyMethodDef>,
    function: ffi::PyCFunctionFast,
    free: FreeList,
}

impl Definition {
    /// Defines a method that takes its positional arguments as a C array.
    pub const fn new(
        name: &'static CStr,
        function: ffi::PyCFunctionFast,
        doc: &'static CStr,
    ) -> Self {
        Self {
            method: Table(tables::fast(name, function, doc)),
            function,
            free: FreeList::new(),
        }
    }
}

/// The method descriptor of a step, stored in the class's dict. It is never freed.
#[repr(C)]
struct Step {
    head: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    definition: &'static Definition,
    class: *mut ffi::PyTypeObject,
    // The built-in method, which provides the name, documentation and signature.
    method: Py<PyAny>,
}

/// A step bound to an instance, like a bound method.
#[repr(C)]
struct BoundStep {
    head: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    step: &'static Step,
    instance: Py<PyAny>,
}

/// Adds a method to `class`: the [`Step`] described by `definition`. The class must not be visible to other threads
/// yet, and must never be freed.
pub fn install(class: &Bound<'_, PyType>, definition: &'static Definition) -> PyResult<()> {
    let py = class.py();
    // SAFETY: all fields are written before anything else can see the object, which is never freed. No other thread can
    // access the class or its dict yet.
    unsafe {
        let class = class.as_type_ptr();
        let method = ffi::PyDescr_NewMethod(class, (&raw const definition.method.0).cast_mut());
        let method = Bound::from_owned_ptr_or_err(py, method)?;
        let object = ffi::PyObject_New::<ffi::PyObject>(STEP.get());
        let made = Bound::from_owned_ptr_or_err(py, object)?;
        let step = object.cast::<Step>();
        (&raw mut (*step).vectorcall).write(call);
        (&raw mut (*step).definition).write(definition);
        (&raw mut (*step).class).write(class);
        (&raw mut (*step).method).write(method.unbind());
        tables::make_immortal(made.as_ptr());
        let name = definition.method.0.ml_name;
        if ffi::PyDict_SetItemString((*class).tp_dict, name, made.into_ptr()) != 0 {
            return Err(PyErr::fetch(py));
        }
        ffi::PyType_Modified(class);
    }
    Ok(())
}

// The SAFETY comments refer to this: CPython calls every function below with the thread attached, with a Step or a
// BoundStep as the first argument, and with the other arguments that the function's slot requires.

#[cold]
fn refused(text: &'static str) -> PyErr {
    PyTypeError::new_err(text)
}

/// Returns a TypeError if there are keyword arguments.
///
/// # Safety
///
/// `keywords` must be the keyword names that CPython passed to a vectorcall.
#[inline]
unsafe fn no(keywords: *mut ffi::PyObject) -> PyResult<()> {
    // SAFETY: CPython passes a tuple of names or null.
    if keywords.is_null() || unsafe { ffi::PyTuple_GET_SIZE(keywords) } == 0 {
        Ok(())
    } else {
        Err(refused("this method takes no keyword arguments"))
    }
}

/// Implements `step(instance, ...)`, the call of an unbound step.
unsafe extern "C" fn call(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let step = unsafe { Receiver::<Step>::of(object) };
    // SAFETY: see above; the code checks that the first argument is an instance of the class.
    guarded(step.py(), || unsafe {
        let count = ffi::PyVectorcall_NARGS(count);
        if count == 0 || ffi::PyObject_TypeCheck(*args, step.class) == 0 {
            return Err(refused(
                "the first argument of this method must be an instance of the method's class",
            ));
        }
        no(keywords)?;
        Ok((step.definition.function)(
            *args,
            args.add(1).cast_mut(),
            count - 1,
        ))
    })
}

/// Implements `__get__`, which binds a step to an instance.
unsafe extern "C" fn bind(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above. The step is never freed.
    let (step, py): (&'static Step, _) =
        unsafe { (&*object.cast(), Receiver::<Step>::of(object).py()) };
    guarded(py, || {
        // SAFETY: see above.
        let instance = unsafe {
            if instance.is_null() {
                return Ok(borrowed(py, &object).clone().into_ptr());
            }
            borrowed(py, &instance)
        };
        bound(step, instance)
    })
}

#[inline]
fn bound(step: &'static Step, instance: &Bound<'_, PyAny>) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: the object is either new, or from the step's own free list and already has its `vectorcall` and `step`
    // fields. All other fields are written before anything else can see it.
    unsafe {
        if ffi::PyObject_TypeCheck(instance.as_ptr(), step.class) == 0 {
            return Err(refused(
                "this method must be bound to an instance of the class that defines it",
            ));
        }
        let mut object = step.definition.free.pop();
        if object.is_null() {
            object = ffi::PyObject_New(BOUND.get());
            if object.is_null() {
                return Ok(object);
            }
            let new = object.cast::<BoundStep>();
            (&raw mut (*new).vectorcall).write(call_bound);
            (&raw mut (*new).step).write(step);
        }
        let instance = instance.clone().unbind();
        (&raw mut (*object.cast::<BoundStep>()).instance).write(instance);
        Ok(object)
    }
}

unsafe extern "C" fn call_bound(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let bound = unsafe { Receiver::<BoundStep>::of(object) };
    // SAFETY: see above; `bind` checked the instance.
    guarded(bound.py(), || unsafe {
        no(keywords)?;
        let count = ffi::PyVectorcall_NARGS(count);
        let function = bound.step.definition.function;
        Ok(function(bound.instance.as_ptr(), args.cast_mut(), count))
    })
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: see above.
    let bound = unsafe { Receiver::<BoundStep>::of(object) };
    let py = bound.py();
    // SAFETY: the last reference is gone, so the instance is released once. The object is pushed first, because
    // releasing the instance may run code that binds the step again.
    guarded_quietly(py, || unsafe {
        let instance = (&raw const bound.instance).read();
        bound.step.definition.free.push(object);
        drop(instance.into_bound(py));
        Ok(())
    });
}

/// Returns an attribute of the wrapped method. `name` is the attribute's name, passed as the closure of the property.
unsafe extern "C" fn of_method(
    object: *mut ffi::PyObject,
    name: *mut c_void,
) -> *mut ffi::PyObject {
    // SAFETY: see above; the closures below are static C strings.
    let (py, method, name) = unsafe {
        let step = match ffi::Py_TYPE(object) == BOUND.get() {
            true => (*object.cast::<BoundStep>()).step,
            false => &*object.cast::<Step>(),
        };
        let py = Receiver::<Step>::of(object).py();
        (py, &step.method, CStr::from_ptr(name.cast::<c_char>()))
    };
    guarded(py, || {
        let name = objects::text(py, &name.to_string_lossy())?;
        Ok(method.bind(py).getattr(name)?.into_ptr())
    })
}

unsafe extern "C" fn instance(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let bound = unsafe { Receiver::<BoundStep>::of(object) };
    guarded(bound.py(), || {
        Ok(bound.instance.clone_ref(bound.py()).into_ptr())
    })
}

const fn forwarded(name: &'static CStr) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        closure: name.as_ptr().cast_mut().cast(),
        ..tables::property(name, of_method, c"")
    }
}

static STEP_PROPERTIES: Table<[ffi::PyGetSetDef; 5]> = Table([
    forwarded(c"__name__"),
    forwarded(c"__qualname__"),
    forwarded(c"__doc__"),
    forwarded(c"__text_signature__"),
    tables::LAST_PROPERTY,
]);

static BOUND_PROPERTIES: Table<[ffi::PyGetSetDef; 6]> = Table([
    forwarded(c"__name__"),
    forwarded(c"__qualname__"),
    forwarded(c"__doc__"),
    forwarded(c"__text_signature__"),
    tables::property(c"__self__", instance, c""),
    tables::LAST_PROPERTY,
]);

static STEP_OFFSETS: Table<[ffi::PyMemberDef; 2]> = Table([
    tables::offset(
        c"__vectorcalloffset__",
        std::mem::offset_of!(Step, vectorcall),
    ),
    tables::LAST_MEMBER,
]);

static BOUND_OFFSETS: Table<[ffi::PyMemberDef; 2]> = Table([
    tables::offset(
        c"__vectorcalloffset__",
        std::mem::offset_of!(BoundStep, vectorcall),
    ),
    tables::LAST_MEMBER,
]);

/// Creates the types. Must be called once, when the module is loaded, before a step is installed.
pub fn initialise(py: Python<'_>) -> PyResult<()> {
    // SAFETY: each function has its slot's signature; sizes, names and tables are as `make` requires. A step is a
    // method descriptor: calling it with an instance as the first argument is the same as calling the bound step.
    unsafe {
        STEP.make(
            py,
            c"nanospan._core._Step",
            size_of::<Step>(),
            ffi::Py_TPFLAGS_HAVE_VECTORCALL | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR,
            &mut [
                tables::slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *const c_void),
                tables::slot(ffi::Py_tp_descr_get, bind as *const c_void),
                tables::slot(ffi::Py_tp_members, STEP_OFFSETS.0.as_ptr().cast()),
                tables::slot(ffi::Py_tp_getset, STEP_PROPERTIES.0.as_ptr().cast()),
                tables::END,
            ],
        )?;
        BOUND.make(
            py,
            c"nanospan._core._BoundStep",
            size_of::<BoundStep>(),
            ffi::Py_TPFLAGS_HAVE_VECTORCALL,
            &mut [
                tables::slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *const c_void),
                tables::slot(ffi::Py_tp_dealloc, dealloc as *const c_void),
                tables::slot(ffi::Py_tp_members, BOUND_OFFSETS.0.as_ptr().cast()),
                tables::slot(ffi::Py_tp_getset, BOUND_PROPERTIES.0.as_ptr().cast()),
                tables::END,
            ],
        )?;
    }
    Ok(())
}
